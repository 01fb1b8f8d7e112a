"""RMIA, the robust membership inference attack, with reference models that never saw the point (offline)."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from attacks.metric_based import fit_threshold
from attacks.signals import checked_usable
from common.errors import CompLeakError
from common.metrics import auc


def log_ratio(log_p_target, log_p_references, usable, a):
    """ln of how much likelier the true label is under the target than under models that did not train on the point.

    The references' mean stands in for p(x) averaged over models with and without x: ½[(1 + a)·mean + (1 − a)]. In
    logs nothing underflows: with ln p from logits every score is finite. Two probabilities of 0 are equally likely:
    the ratio is 1; with a = 1 a positive one above a reference of 0 is infinite.

    Args: log_p_target [n] ln of the true label's posterior under the target, at most 0, -inf allowed;
        log_p_references [n,r] under each reference; usable [n,r] bool, True where the reference did not train on the
        point; a, fraction.
    Returns: [n] float64 in nats, high for members, never NaN.
    Raises: CompLeakError if a point has no usable reference, or `a` is outside 0..1.
    Source: Zarifzadeh et al., ICML 2024, section 3 and appendix B.2.2 (offline).
    """
    return _log_ratio(log_p_target, _log_mean(log_p_references, usable), a)


def _log_mean(log_p, usable):
    """ln of the mean posterior over the usable references: [n,r], [n,r] -> [n]."""
    usable = checked_usable(usable)
    assert np.shape(log_p) == usable.shape, "a row for each point, a column for each reference"
    return logsumexp(np.where(usable, np.asarray(log_p, np.float64), -np.inf), axis=1) - np.log(usable.sum(1))


def _log_ratio(log_p, log_mean, a):
    if not 0 <= a <= 1:
        raise CompLeakError(f"RMIA's a is {a}, it must be between 0 and 1")
    log_p = np.asarray(log_p, np.float64)
    assert log_p.shape == log_mean.shape, "a row for each point"
    with np.errstate(divide="ignore"):
        log_average = np.logaddexp(np.log((1 + a) / 2) + log_mean, np.log((1 - a) / 2))
    both_zero = np.isneginf(log_p) & np.isneginf(log_average)
    return np.subtract(log_p, log_average, out=np.zeros_like(log_p), where=~both_zero)


def ratio(p_target, p_references, usable, a):
    """exp of `log_ratio`, from posteriors: p_target [n], p_references [n,r], fractions.

    Returns: [n] float64, high for members, infinite where it overflows.
    Other arguments, raises and source as `log_ratio`.
    """
    with np.errstate(over="ignore"):
        return np.exp(log_ratio(_log(p_target), _log(p_references), usable, a))


def _log(p):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(p, np.float64))


def population_score(ratio_x, ratio_z, gamma=1.0):
    """Share of population points z that x dominates: ratio(x) > gamma · ratio(z).

    Args: ratio_x [n], ratio_z [m] of points that are members of no model, gamma.
    Returns: [n] float64, fraction.
    Raises: CompLeakError without population points.
    Source: Zarifzadeh et al., ICML 2024, section 3.
    """
    if len(ratio_z) == 0:
        raise CompLeakError("RMIA's population is empty")
    bars = np.sort(gamma * np.asarray(ratio_z, np.float64))
    # 'left' counts the bars strictly below x, so a tie does not count as dominated.
    return np.searchsorted(bars, np.asarray(ratio_x, np.float64), side="left") / len(bars)


def choose_a(p_shadow, p_references, usable, member, grid):
    """The `a` of highest AUC in the mirrored game, where a shadow is attacked; the smallest one if several.

    Args: p_shadow [n] true-label posterior of the shadow on its own points; p_references [n,r] and usable [n,r]
        as in `ratio` (here the target as a black box); member [n] bool of the shadow; grid of fractions.
    Returns: float from the grid.
    Raises: CompLeakError as `ratio` and `metrics.auc`.
    Source: Zarifzadeh et al., ICML 2024, appendix B.2.2.
    """
    return _best_a(_log(p_shadow), _log_mean(_log(p_references), usable), member, grid)


def _best_a(log_p, log_mean, member, grid):
    return max(sorted(grid), key=lambda a: auc(_log_ratio(log_p, log_mean, a), member))


class Mirrored(NamedTuple):
    """What the games in which each shadow is attacked decide, and how many references either side had.

    a: fraction · cut: of `log_ratio`, a member is at or above it · area: the mirrored games' AUC, a fraction ·
    scores [Σm]: the shadows' `log_ratio`, one shadow after the other · shadow_references, target_references:
    {references a point could use: points that had so many}.
    """

    a: float
    cut: float
    area: float
    scores: np.ndarray
    shadow_references: dict
    target_references: dict


def mirror(games, members, target_usable, grid):
    """Choose a, and the cut on the ratio, where the attacker knows the answer: with each of his shadows attacked.

    Each shadow's references are the other shadows that did not train on the point and, with disjoint pools, the
    target (`signals.out_references`), so that like the target's score a shadow's is a mean over several.

    Args: games, a (log_p [m], log_p_references [m,r], usable [m,r]) of each shadow on its own points, as in
        `log_ratio`; members, its [m] bool; target_usable [n,r], the references of the target's points; grid of
        fractions, a single one to have it taken.
    Returns: Mirrored.
    Raises: CompLeakError as `log_ratio` and `metrics.auc`.
    Source: Zarifzadeh et al., ICML 2024, appendix B.2.2, with one shadow; several are this project's.
    """
    log_p = np.concatenate([np.asarray(log_p, np.float64) for log_p, _, _ in games])
    log_mean = np.concatenate([_log_mean(references, usable) for _, references, usable in games])
    member = np.concatenate(members)
    a = float(_best_a(log_p, log_mean, member, grid))
    scores = _log_ratio(log_p, log_mean, a)
    counts = np.concatenate([np.sum(usable, axis=1) for _, _, usable in games])
    return Mirrored(a, fit_threshold(scores, member), auc(scores, member), scores, _histogram(counts),
                    _histogram(checked_usable(target_usable).sum(1)))


def _histogram(counts):
    values, points = np.unique(counts, return_counts=True)
    return {int(value): int(number) for value, number in zip(values, points, strict=True)}
