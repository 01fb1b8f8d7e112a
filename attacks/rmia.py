"""RMIA, the robust membership inference attack, with reference models that never saw the point (offline)."""

import numpy as np

from common.errors import CompLeakError
from common.metrics import auc


def ratio(p_target, p_references, usable, a):
    """How much likelier the true label is under the target than under models that did not train on the point.

    The references' mean stands in for p(x) averaged over models with and without x: ½[(1 + a)·mean + (1 − a)].

    Args: p_target [n] posterior of the true label under the target; p_references [n,r] under each reference;
        usable [n,r] bool, True where the reference did not train on the point; a, fraction.
    Returns: [n] float64, high for members.
    Raises: CompLeakError if a point has no usable reference, or `a` is outside 0..1.
    Source: Zarifzadeh et al., ICML 2024, section 3 and appendix B.2.2 (offline).
    """
    p_target, p_references = np.asarray(p_target, np.float64), np.asarray(p_references, np.float64)
    usable = np.asarray(usable).astype(bool)
    assert p_references.shape == usable.shape and len(p_target) == len(usable), "a row for each point"
    if not 0 <= a <= 1:
        raise CompLeakError(f"RMIA's a is {a}, it must be between 0 and 1")
    lacking = int((~usable.any(1)).sum())
    if lacking:
        raise CompLeakError(f"{lacking} of {len(usable)} points have no reference model that did not train on them")
    mean = np.where(usable, p_references, 0).sum(1) / usable.sum(1)
    return p_target / (0.5 * ((1 + a) * mean + (1 - a)))


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
    return max(sorted(grid), key=lambda a: auc(ratio(p_shadow, p_references, usable, a), member))
