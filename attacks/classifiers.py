"""Classifiers that tell members from non-members by features, and scores from models that did not see the row."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from joblib import cpu_count
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common.errors import CompLeakError
from common.seeds import derive_seed

TREES = 500
LEAF = 30
BLOCK = 2000  # rows that a core must have to score, or asking 500 trees costs more than their answers


class Classifier:
    """A fitted classifier: `score(features [n,d]) -> [n]`, the probability of membership."""

    def __init__(self, estimator):
        self.estimator = estimator

    def score(self, features):
        """Probability of membership; said to be a member above 0.5. features [n,d] -> [n] float64."""
        return self.estimator.predict_proba(features)[:, 1]


class ForestClassifier(Classifier):
    """A fitted forest. Cores share the rows, not the trees: each row's sum runs over the trees in order, so the
    scores repeat to the last digit and are those of one core."""

    def score(self, features):
        features = np.asarray(features, dtype=np.float32)
        cores = min(cpu_count(), max(1, len(features) // BLOCK))
        with ThreadPoolExecutor(cores) as pool:
            return np.concatenate(list(pool.map(super().score, np.array_split(features, cores))))


def _check_membership(features, member):
    member = np.asarray(member).astype(bool)
    if len(features) != len(member) or member.all() or not member.any():
        raise CompLeakError(f"a classifier needs members and non-members, one row each: got {len(features)} rows, "
                            f"{int(member.sum())} members of {len(member)}")
    return member


def fit_logistic(features, member):
    """Logistic regression on standardised features; the scaler is part of what is fitted.

    Args: features [n,d], member [n] bool.
    Returns: Classifier.
    Raises: CompLeakError unless there are members and non-members.
    """
    member = _check_membership(features, member)
    estimator = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", max_iter=1000))
    return Classifier(estimator.fit(features, member))


def fit_forest(features, member, seed):
    """Random forest of 500 trees with at least 30 samples a leaf.

    Fitting uses all cores, which does not change the trees. Scoring over several jobs would: they add up the trees
    in the order in which they finish, and the last digits change from run to run.

    Args: features [n,d], member [n] bool, seed int.
    Returns: Classifier.
    Raises: CompLeakError unless there are members and non-members.
    """
    member = _check_membership(features, member)
    forest = RandomForestClassifier(TREES, min_samples_leaf=LEAF, random_state=seed % 2**32, n_jobs=-1)
    forest.fit(np.asarray(features, dtype=np.float32), member)
    forest.n_jobs = 1
    return ForestClassifier(forest)


def cross_fit(fit, features, member, seed, folds=5, groups=None):
    """Scores from classifiers that were fitted without the row: stacking on in-sample scores would mislead.

    The folds depend on `seed` and `member` alone, so every version of a model has the same ones. With groups
    (the shadow of each row) they depend on these alone: one whole group is left out at a time; with more groups than
    folds several, since the cost of leaving out each alone grows with the square of their number.

    Args: fit (features, member) -> Classifier; features [n,d]; member [n] bool; seed int of the folds; folds int;
        groups [n] int with at least two values, or None.
    Returns: [n] float64.
    Raises: CompLeakError if a fold would lack members or non-members.
    Source: Wolpert, Neural Networks 1992 (stacked generalisation).
    """
    features, member = np.asarray(features), _check_membership(features, member)
    if groups is None:
        fewest = min(int(member.sum()), int((~member).sum()))
        if fewest < folds:
            raise CompLeakError(f"{folds} folds need {folds} members and {folds} non-members, got {fewest} of one")
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
        parts = splitter.split(np.zeros(len(member)), member)
    else:
        dealt = np.unique(groups, return_inverse=True)[1] % folds
        parts = LeaveOneGroupOut().split(np.zeros(len(member)), member, dealt)
    scores = np.empty(len(member))
    for rest, held_out in parts:
        scores[held_out] = fit(features[rest], member[rest]).score(features[held_out])
    return scores


# {kind: seed of a run → fit(features [n,d], member [n]) → Classifier}; one forest seed for every attack.
FITS = {"LR": lambda seed: fit_logistic,
        "RF": lambda seed: partial(fit_forest, seed=derive_seed(seed, "forest"))}
