"""One learner for every setting: its kinds are compared on the shadow alone, and the best one goes to the target."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from attacks.batched_networks import Job, train_and_score
from attacks.classifiers import fit_forest, fit_logistic
from common.errors import CompLeakError
from common.metrics import auc
from common.seeds import derive_seed

KINDS = ("nets", "logistic", "forest")  # the first one of those with the highest AUC is taken
NETS = 5
FOLDS = 5


@dataclass(frozen=True)
class Learned:
    """One feature set's outcome; scores are probabilities of membership, said to be a member above 0.5.

    kind: the chosen one · areas: {kind: its cross-fitted AUC on the shadow, a fraction} · shadow [n] cross-fitted
    scores · target [m] scores after fitting on all shadow rows.
    """

    kind: str
    areas: dict
    shadow: np.ndarray
    target: np.ndarray


def learn(shadow_sets, member, target_sets, seed, groups=None, kinds=KINDS, name=None, twins=None):
    """Fit every feature set on the shadow's rows, choose each one's kind there, and score the target with it.

    "nets": five networks of 64–64 GELU units, their log-odds averaged; those of all folds and sets train side by side.
    "logistic" and "forest": attacks/classifiers.py; a forest of one shadow is judged out of bag, which costs one fit
    where folds cost six. Folds and seeds depend on `seed`, `member`, `groups` and `twins` alone, so a set's scores do
    not depend on which others are learned with it, and sets are compared on equal terms.

    Args: shadow_sets {name: [n,d]}, the rows of all shadows; member [n] bool of the shadows; target_sets {name:
        [m,d]} of the same names and columns, any rows; seed int; groups [n] int, the shadow of each row where there
        are several, else None; kinds, a sequence of those to compare; name of the progress bar, or None for no bar;
        twins [n] int or None, without groups: rows of equal pictures share a number, and none judges another.
    Returns: {name: Learned}.
    Raises: CompLeakError for an unknown kind, features that are not finite, or folds that cannot be made.
    Source: Wolpert, Neural Networks 1992, for scores from fits that did not see the row.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise CompLeakError(f"no learner {', '.join(unknown) or 'is named'}: choose among {', '.join(KINDS)}")
    assert groups is None or twins is None, "groups already keep a shadow's rows together"
    kinds, member = [kind for kind in KINDS if kind in kinds], np.asarray(member).astype(bool)
    sets = {key: (_checked(rows, key, len(member)), _checked(target_sets[key], key)) for key, rows in
            shadow_sets.items()}
    left_out = LeftOut(fold_of_rows(member, derive_seed(seed, "folds"), twins if groups is None else groups),
                       groups is not None, twins)
    found = {kind: FITTERS[kind](sets, member, left_out, seed, name) for kind in kinds}
    return {key: _chosen({kind: found[kind][key] for kind in kinds}, member) for key in sets}


def _checked(features, key, rows=None):
    features = np.asarray(features)
    assert features.ndim == 2 and rows in (None, len(features)), "a row of features for each point"
    if not np.isfinite(features).all():
        raise CompLeakError(f"features of {key} are not finite in {int((~np.isfinite(features)).any(1).sum())} of "
                            f"{len(features)} rows")
    return features


def _chosen(scores, member):
    """The kind of highest AUC on the shadow, the first if several. scores {kind: (shadow [n], target [m])}."""
    areas = {kind: auc(shadow, member) for kind, (shadow, _) in scores.items()}
    kind = max(areas, key=areas.get)
    return Learned(kind, areas, *scores[kind])


def fold_of_rows(member, seed, groups=None, folds=FOLDS):
    """Which fold leaves each row out: whole groups at a time, dealt in random order, members and non-members evenly.

    With several shadows a row's group is its shadow, so that whole shadows are left out; with one, twins (rows of equal
    pictures) share a group, or a row would be judged by a fit that saw its twin.

    Args: member [n] bool; seed int; groups [n] int, or None where each row is its own; folds int, fewer where there
        are fewer groups.
    Returns: [n] int from 0.
    Raises: CompLeakError with a single group, or where the rows outside a fold would all be of one kind.
    """
    member = np.asarray(member).astype(bool)
    group = np.unique(np.arange(len(member)) if groups is None else groups, return_inverse=True)[1]
    count = int(group.max()) + 1
    folds = min(folds, count)
    mostly_member = 2 * np.bincount(group, member) > np.bincount(group)
    shuffled = np.random.default_rng(seed).permutation(count)
    fold_of_group = np.empty(count, int)
    # One kind of group fills the folds from the first on, the other from the last: no fold stays empty. Which is which
    # does not depend on what is called a member, so swapped labels have the same folds.
    first = mostly_member[shuffled] == mostly_member[shuffled[0]]
    fold_of_group[shuffled[first]] = np.arange(first.sum()) % folds
    fold_of_group[shuffled[~first]] = folds - 1 - np.arange(count - first.sum()) % folds
    fold = fold_of_group[group]
    for part in range(folds):
        rest = member[fold != part]
        if rest.all() or not rest.any():
            raise CompLeakError(f"{folds} folds of {len(member)} rows in {count} groups leave members or non-members "
                                "alone to fit on")
    return fold


class LeftOut(NamedTuple):
    """Which rows a fit leaves out: fold [n] of each row, whether folds are whole shadows, and the rows' twins."""

    fold: np.ndarray
    shadows: bool
    twins: np.ndarray | None


def _nets(sets, member, left_out, seed, name):
    """{key: (shadow [n] cross-fitted, target [m])} of averaged networks, every one of them trained at once."""
    fold = left_out.fold
    parts = [*range(fold.max() + 1), None]
    jobs = [Job(shadow, member, np.flatnonzero(fold != part) if part is not None else np.arange(len(member)),
                shadow[fold == part] if part is not None else target,
                derive_seed(seed, "weights", part, net), derive_seed(seed, "order", part, net))
            for shadow, target in sets.values() for part in parts for net in range(NETS)]
    scores, found = iter(train_and_score(jobs, name)), {}
    for key in sets:
        means = [expit(np.mean([next(scores) for _ in range(NETS)], axis=0)) for _ in parts]
        found[key] = _joined(means[:-1], fold), means[-1]
    return found


def _joined(parts, fold):
    """Each fold's scores back in the rows' order: [[n_f]] -> [n]."""
    scores = np.empty(len(fold))
    for part, values in enumerate(parts):
        scores[fold == part] = values
    return scores


def _classifier(fit):
    """The same for a classifier. fit: (features, member, seed) -> Classifier."""

    def fitted(sets, member, left_out, seed, name):
        fold, forest, found = left_out.fold, derive_seed(seed, "forest"), {}
        for key, (shadow, target) in sets.items():
            parts = [fit(shadow[fold != part], member[fold != part], forest).score(shadow[fold == part])
                     for part in range(fold.max() + 1)]
            found[key] = _joined(parts, fold), fit(shadow, member, forest).score(target)
        return found

    return fitted


def _forest(sets, member, left_out, seed, name):
    """The same for a forest: with one shadow the trees that did not see a row score it, else it is fitted by fold."""
    by_fold, found = _classifier(fit_forest), {}
    if left_out.shadows:
        return by_fold(sets, member, left_out, seed, name)
    for key, (shadow, target) in sets.items():
        forest = fit_forest(shadow, member, derive_seed(seed, "forest"))
        try:
            found[key] = forest.score_out_of_bag(left_out.twins), forest.score(target)
        except CompLeakError:  # a model with few different answers: a row's twins are in every tree's sample
            found |= by_fold({key: (shadow, target)}, member, left_out, seed, name)
    return found


FITTERS = {"nets": _nets, "logistic": _classifier(lambda features, member, seed: fit_logistic(features, member)),
           "forest": _forest}
