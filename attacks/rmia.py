"""RMIA, the robust membership inference attack, with reference models that never saw the point (offline)."""

from typing import NamedTuple

import numpy as np

from attacks.attack import REFERENCE, Attack, Scored
from attacks.inputs import reference_game
from attacks.metric_based import fit_threshold
from common.errors import CompLeakError
from common.metrics import auc
from common.paths import OWN


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


# The attacks.

A_GRID = np.linspace(0, 1, 11)
RELEASED_CUT = 0.7  # of the population score, in the released protocol
RATIO, POPULATION = "RMIA", "RMIA (population)"


class Missing(NamedTuple):
    """Names of attacks that lack answers, and a line on each."""

    names: list
    lines: list


def missing(attacked):
    """What cannot be run, the Missing, where models made elsewhere were not asked all that is needed."""
    if not _asked(attacked.shadows, [attacked.target]):
        return Missing([RATIO, POPULATION], ["RMIA is left out: it needs every shadow's answers on the target's scored "
                                             "rows"])
    if not _asked(attacked.models, attacked.shadows):
        return Missing([POPULATION], ["RMIA's ACC and its population score are left out: they need every model's "
                                      "answers on the shadows' scored rows"])
    return Missing([], [])


def _asked(models, about):
    """Whether these models answered all rows of those.

    Only models made elsewhere may lack some: a run's own models that do are out of date, which reading the rows says.
    """
    return models[0].queries.meta.get("rows") != OWN.dataset or all(
        model.queries.holds(other.index) for model in models for other in about)


def _fit(attacked, a):
    """(a, threshold on the ratio) from the game with the roles mirrored, threshold None where it cannot be played."""
    if not _asked(attacked.models, attacked.shadows):
        if a == "auto":
            raise CompLeakError("--rmia_a auto: choosing it needs every model's answers on the shadows' scored "
                                "rows; give a number in 0-1")
        return a, None
    mirrored = [reference_game(shadow, shadow.index, [attacked.target]) for shadow in attacked.shadows]
    mirrored = [np.concatenate(parts) for parts in zip(*mirrored, strict=True)]
    member = attacked.stacked("member")
    if a == "auto":
        a = choose_a(*mirrored, member, A_GRID)
    return a, fit_threshold(ratio(*mirrored, a), member)


def _ratio(attacked, a):
    return ratio(*reference_game(attacked.target, attacked.target.index, attacked.shadows), a)


def _run_ratio(attacked, context):
    a, cut = _fit(attacked, context.options.rmia_a)
    scores = _ratio(attacked, a)
    return Scored(scores, None if cut is None else scores >= cut)


def _run_population(attacked, context):
    a, cut = _fit(attacked, context.options.rmia_a)
    scores, released = _ratio(attacked, a), "rmia_population" in context.choices
    population = np.unique(np.concatenate([shadow.index[shadow.index >= 0 if released else ~shadow.member]
                                           for shadow in attacked.shadows]))
    p, p_references, usable = reference_game(attacked.target, population, attacked.shadows)
    if released:  # a = 1 leaves the references' mean as it is
        found = population_score(scores, ratio(p, p_references, np.ones_like(usable), 1))
        return Scored(found, found >= RELEASED_CUT)
    return Scored(population_score(scores, ratio(p, p_references, usable, a)), scores >= cut)


ATTACKS = (Attack(RATIO, _run_ratio, knowledge=REFERENCE, short="RMIA", options=("rmia_a",)),
           Attack(POPULATION, _run_population, knowledge=REFERENCE, short="RMIA pop", choices=("rmia_population",),
                  options=("rmia_a",)))
