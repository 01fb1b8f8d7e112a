"""One learner for every setting: its kinds are compared on the shadow alone, and the best one goes to the target."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from attacks.batched_networks import Job, train_and_score
from attacks.classifiers import fit_forest, fit_logistic
from common.errors import CompLeakError
from common.metrics import auc
from common.seeds import derive_seed

KINDS = ("nets", "logistic", "forest")  # the first one of those with the highest AUC is taken
# A forest is judged by its own trees where there is one shadow; with several it would cost four times the rest.
OF_SEVERAL = KINDS[:2]
NETS = 5
FOLDS = 5
FITTED_AT_MOST = 20_000  # rows of several shadows that are fitted on: as many as one has at most


class Rows(NamedTuple):
    """The shadows' rows: member [n] bool · groups [n] int, the shadow of each row where there are several · twins [n]
    int where there is one: rows of equal pictures share a number, and none judges another."""

    member: np.ndarray
    groups: np.ndarray | None = None
    twins: np.ndarray | None = None


@dataclass(frozen=True)
class Learned:
    """What `learn` gives; scores are probabilities of membership, said to be a member above 0.5.

    kind: the chosen one · areas: {kind: its cross-fitted AUC on the shadow, a fraction} · shadow [n] cross-fitted
    scores · target [m] scores after fitting on all shadow rows.
    """

    kind: str
    areas: dict
    shadow: np.ndarray
    target: np.ndarray


def learn(shadow, rows, target, seed, kinds=None):
    """The Learned of fitting every kind on the shadows' rows, choosing one there, and scoring the target with it.

    "nets": five networks of 64–64 GELU units, their log-odds averaged; those of all folds train side by side.
    "logistic" and "forest": attacks/classifiers.py; a forest of one shadow is judged out of bag, which costs one fit
    where folds cost six. Of several shadows together FITTED_AT_MOST rows are drawn to fit on. Folds, rows and seeds
    depend on `seed` and `rows` alone, so features are compared on equal terms. shadow [n,d], features of `rows`;
    target [m,d]; kinds: those to compare (default: KINDS, or OF_SEVERAL shadows). CompLeakError for features that are
    not finite, or folds that cannot be made.
    Source: Wolpert, Neural Networks 1992, for scores from fits that did not see the row.
    """
    assert rows.groups is None or rows.twins is None, "groups already keep a shadow's rows together"
    shadow, target = _checked(shadow, len(rows.member)), _checked(target)
    fold = fold_of_rows(rows.member, derive_seed(seed, "folds"), rows.twins if rows.groups is None else rows.groups)
    kinds, kept = kinds or (KINDS if rows.groups is None else OF_SEVERAL), fitted_rows(rows, derive_seed(seed, "rows"))
    scores = {kind: FITTERS[kind](shadow, target, rows, fold, kept, seed) for kind in KINDS if kind in kinds}
    areas = {kind: auc(of_shadow, rows.member) for kind, (of_shadow, _) in scores.items()}
    kind = max(areas, key=areas.get)  # the first of several
    return Learned(kind, areas, *scores[kind])


def _checked(features, rows=None):
    features = np.asarray(features)
    assert features.ndim == 2 and rows in (None, len(features)), "a row of features for each point"
    if not np.isfinite(features).all():
        raise CompLeakError(f"features are not finite in {int((~np.isfinite(features)).any(1).sum())} of "
                            f"{len(features)} rows")
    return features


def fold_of_rows(member, seed, groups=None, folds=FOLDS):
    """Which fold leaves each row out: whole groups at a time, dealt in random order, members and non-members evenly.

    With several shadows a row's group is its shadow, so that whole shadows are left out; with one, twins (rows of equal
    pictures) share a group, or a row would be judged by a fit that saw its twin.

    groups [n] int, None where each row is its own; fewer folds where there are fewer groups. Gives [n] int from 0;
    CompLeakError with a single group, or where the rows outside a fold would all be of one kind.
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


def fitted_rows(rows, seed):
    """Which rows are fitted on, [n] bool: of one shadow all, of several FITTED_AT_MOST, as many of each kind."""
    kept = np.ones(len(rows.member), dtype=bool)
    if rows.groups is not None:
        kind = 2 * np.unique(rows.groups, return_inverse=True)[1] + rows.member
        each = FITTED_AT_MOST // (int(kind.max()) // 2 * 2 + 2)
        shuffled = np.random.default_rng(seed).permutation(len(kind))
        for one in np.unique(kind):
            kept[shuffled[kind[shuffled] == one][each:]] = False
    return kept


def _nets(shadow, target, rows, fold, kept, seed):
    """(shadow [n] cross-fitted, target [m]) of averaged networks, every one of them trained at once. fold [n] of each
    row of the shadow, kept [n] bool those to fit on."""
    parts = [*range(fold.max() + 1), None]
    jobs = [Job(shadow, rows.member, np.flatnonzero(kept if part is None else kept & (fold != part)),
                shadow[fold == part] if part is not None else target,
                derive_seed(seed, "weights", part, net), derive_seed(seed, "order", part, net))
            for part in parts for net in range(NETS)]
    scores = iter(train_and_score(jobs))
    means = [expit(np.mean([next(scores) for _ in range(NETS)], axis=0)) for _ in parts]
    return _joined(means[:-1], fold), means[-1]


def _joined(parts, fold):
    """Each fold's scores back in the rows' order: [[n_f]] -> [n]."""
    scores = np.empty(len(fold))
    for part, values in enumerate(parts):
        scores[fold == part] = values
    return scores


def _by_folds(fit, shadow, target, member, fold, kept):
    """(cross-fitted scores of the shadow [n], scores of the target [m]) of a classifier that is fitted again for each
    fold. fit: (features, member) -> Classifier; fold and kept as of `_nets`."""
    parts = [fit(shadow[rest], member[rest]).score(shadow[fold == part])
             for part, rest in ((part, kept & (fold != part)) for part in range(fold.max() + 1))]
    return _joined(parts, fold), fit(shadow[kept], member[kept]).score(target)


def _logistic(shadow, target, rows, fold, kept, seed):
    return _by_folds(fit_logistic, shadow, target, rows.member, fold, kept)


def _forest(shadow, target, rows, fold, kept, seed):
    """As `_by_folds`, of a forest: with one shadow the trees that did not see a row score it instead."""
    fit = partial(fit_forest, seed=derive_seed(seed, "forest"))
    if rows.groups is None:
        forest = fit(shadow, rows.member)
        try:
            return forest.score_out_of_bag(rows.twins), forest.score(target)
        except CompLeakError:  # a model with few different answers: a row's twins are in every tree's sample
            pass
    return _by_folds(fit, shadow, target, rows.member, fold, kept)


FITTERS = {"nets": _nets, "logistic": _logistic, "forest": _forest}
