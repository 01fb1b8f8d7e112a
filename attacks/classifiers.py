"""Classifiers that tell members from non-members by features, and scores from models that did not see the row.

Everywhere features [n,d] · member [n] bool · seed int; CompLeakError unless there are members and non-members.
"""

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial

import numpy as np
from joblib import cpu_count
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common.errors import CompLeakError
from common.seeds import derive_seed

TREES = 500
LEAF = 30
BLOCK = 2000  # rows that a core must have to score, or asking 500 trees costs more than their answers
BAGS = 50  # trees whose drawn rows are held at once: all 500 of 20,000 rows would be 40 MB


class Classifier:
    """A fitted classifier."""

    def __init__(self, estimator):
        self.estimator = estimator

    def score(self, features):
        """Probability of membership; said to be a member above 0.5. features [n,d] -> [n] float64."""
        return self.estimator.predict_proba(features)[:, 1]


class ForestClassifier(Classifier):
    """A fitted forest. Cores share the rows, not the trees: each row's sum runs over the trees in order, so the
    scores repeat to the last digit and are those of one core."""

    def __init__(self, estimator, fitted_on, member, seed):
        super().__init__(estimator)
        self.fitted_on, self.member, self.seed = fitted_on, member, seed

    def score(self, features):
        features = np.asarray(features, dtype=np.float32)
        return np.concatenate(_on_cores(super().score, features))

    def score_out_of_bag(self, twins=None):
        """The rows that the forest was fitted on, each scored by the trees whose bootstrap sample lacks it.

        twins [n] int or None: a tree that saw one of several rows with the same number scores none of them. Gives [n]
        float64, without twins scikit-learn's `oob_decision_function_` to the last digit; CompLeakError where a row, or
        a twin of it, was in every tree's sample. Source: Breiman, Out-of-bag estimation, 1996.
        """
        n, trees = len(self.fitted_on), self.estimator.estimators_
        twins = np.arange(n) if twins is None else np.unique(twins, return_inverse=True)[1]
        assert len(twins) == n, "a twins' number for each row that the forest was fitted on"
        sums, asked = np.zeros(n), np.zeros(n, dtype=np.int64)
        for start in range(0, len(trees), BAGS):
            some = copy(self.estimator)
            some.estimators_ = trees[start:start + BAGS]
            left_out = np.ones((len(some.estimators_), n), dtype=bool)
            for row, drawn in zip(left_out, some.estimators_samples_, strict=True):
                row[twins[drawn]] = False

            def add(rows, trees=some.estimators_, left_out=left_out):
                for tree, free in zip(trees, left_out, strict=True):
                    mine = rows[free[twins[rows]]]
                    sums[mine] += tree.predict_proba(self.fitted_on[mine], check_input=False)[:, 1]
                    asked[mine] += 1

            _on_cores(add, np.arange(n))
        if not asked.all():
            raise CompLeakError(f"{int((asked == 0).sum())} of {n} rows are in the bootstrap sample of each of "
                                f"{len(trees)} trees, so no tree can score them: fit more trees")
        return sums / asked

    def score_unseen(self, groups):
        """The rows that the forest was fitted on, each scored by trees that did not see it: [n] float64.

        With one shadow they are out-of-bag. With several whole shadows are left out, since one picture can be in two of
        them, and its answers under one say who it is under the other. groups [n], the shadow of each row.
        """
        if len(np.unique(groups)) == 1:
            return self.score_out_of_bag()
        return cross_fit(lambda features, member: fit_forest(features, member, self.seed), self.fitted_on, self.member,
                         self.seed, groups=groups)


def _on_cores(function, rows):
    """What function gives for consecutive parts of rows [n,…], a part a core, in order: list."""
    cores = min(cpu_count(), max(1, len(rows) // BLOCK))
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(function, np.array_split(rows, cores)))


def _check_membership(features, member):
    member = np.asarray(member).astype(bool)
    if len(features) != len(member) or member.all() or not member.any():
        raise CompLeakError(f"a classifier needs members and non-members, one row each: got {len(features)} rows, "
                            f"{int(member.sum())} members of {len(member)}")
    return member


def fit_logistic(features, member):
    """The Classifier of logistic regression on standardised features; the scaler is part of what is fitted."""
    member = _check_membership(features, member)
    estimator = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", max_iter=1000))
    return Classifier(estimator.fit(features, member))


def fit_forest(features, member, seed):
    """The ForestClassifier of 500 trees with at least 30 samples a leaf.

    Fitting uses all cores, which does not change the trees. Scoring over several jobs would: they add up the trees
    in the order in which they finish, and the last digits change from run to run.
    """
    member, features = _check_membership(features, member), np.asarray(features, dtype=np.float32)
    forest = RandomForestClassifier(TREES, min_samples_leaf=LEAF, random_state=seed % 2**32, n_jobs=-1)
    forest.fit(features, member)
    forest.n_jobs = 1
    return ForestClassifier(forest, features, member, seed)


def equal_rows(features, labels):
    """A number [n] int for each row, the same for rows that no classifier can tell apart: `twins` of `cross_fit`."""
    rows = np.column_stack([np.asarray(features, dtype=np.float64), labels])
    return np.unique(rows, axis=0, return_inverse=True)[1].ravel()


def cross_fit(fit, features, member, seed, folds=5, groups=None, twins=None):
    """Scores from classifiers that were fitted without the row: stacking on in-sample scores would mislead.

    The folds depend on `seed`, `member` and `twins` alone, so every version of a model has the same ones. With groups
    (the shadow of each row) they depend on these alone: one whole group is left out at a time; with more groups than
    folds several, since the cost of leaving out each alone grows with the square of their number.

    fit: (features, member) → Classifier; groups [n] int with at least two values, or None; twins [n] int or None,
    without groups: rows with the same number (one picture twice, or `equal_rows`) share a fold; numbers that occur once
    leave the folds as they are. Gives [n] float64; CompLeakError if a fold would lack members or non-members.
    Source: Wolpert, Neural Networks 1992 (stacked generalisation).
    """
    features, member = np.asarray(features), _check_membership(features, member)
    assert groups is None or twins is None, "groups already keep a shadow's rows together"
    fold = _stratified(member, seed, folds, twins) if groups is None else (
        np.unique(groups, return_inverse=True)[1] % folds)
    scores = np.empty(len(member))
    for held_out in (fold == one for one in np.unique(fold)):
        scores[held_out] = fit(features[~held_out], member[~held_out]).score(features[held_out])
    return scores


def _stratified(member, seed, folds, twins):
    """The fold [n] of each row: stratified, shuffled, and dealt to the first of each row's twins."""
    n = len(member)
    _, firsts, of_row = np.unique(np.arange(n) if twins is None else twins, return_index=True, return_inverse=True)
    order = np.sort(firsts)
    fewest = min(int(member[order].sum()), int((~member[order]).sum()))
    if fewest < folds:
        raise CompLeakError(f"{folds} folds need {folds} members and {folds} non-members, got {fewest} of one")
    fold = np.empty(n, dtype=np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
    for number, (_, held_out) in enumerate(splitter.split(order, member[order])):
        fold[order[held_out]] = number
    return fold[firsts[of_row]]
# {kind: seed of a run → fit(features [n,d], member [n]) → Classifier}; one forest seed for every attack.
FITS = {"LR": lambda seed: fit_logistic,
        "RF": lambda seed: partial(fit_forest, seed=derive_seed(seed, "forest"))}
