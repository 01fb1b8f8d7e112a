"""RMIA, the robust membership inference attack, with reference models that never saw the point (offline).

Source throughout: Zarifzadeh et al., ICML 2024, section 3 and appendix B.2.2.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from attacks.attack import REFERENCE, Attack, Scored
from attacks.games import asked, gaps, has_references
from attacks.metric_based import fit_threshold
from attacks.signals import TARGET, checked_usable, log_posterior
from common.errors import CompLeakError
from common.metrics import auc, percentile_tpr

A_GRID = np.linspace(0, 1, 11)
RELEASED_CUT = 0.7  # of the population score, in the released protocol
RATIO, POPULATION = "RMIA", "RMIA (population)"


def log_ratio(log_p_target, log_p_references, usable, a):
    """ln of how much likelier the true label is under the target than under models that did not train on the point.

    The references' mean stands in for p(x) averaged over models with and without x: ½[(1 + a)·mean + (1 − a)]. In
    logs nothing underflows: with ln p from logits every score is finite. Two probabilities of 0 are equally likely:
    the ratio is 1; with a = 1 a positive one above a reference of 0 is infinite.

    log_p_target [n], ln of the true label's posterior under the target, -inf allowed; log_p_references [n,r] under each
    reference; usable [n,r] bool, True where the reference did not train on the point; a, fraction. Gives [n] float64 in
    nats, high for members, never NaN; CompLeakError for a point without a usable reference, or `a` outside 0..1.
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


def population_score(ratio_x, ratio_z, gamma=1.0):
    """Share of population points z that x dominates, ratio(x) > gamma · ratio(z): [n] float64.

    ratio_x [n], ratio_z [m] of points that are members of no model; CompLeakError without any.
    """
    if len(ratio_z) == 0:
        raise CompLeakError("RMIA's population is empty")
    bars = np.sort(gamma * np.asarray(ratio_z, np.float64))
    # 'left' counts the bars strictly below x, so a tie does not count as dominated.
    return np.searchsorted(bars, np.asarray(ratio_x, np.float64), side="left") / len(bars)


class Mirrored(NamedTuple):
    """What the games in which each shadow is attacked decide, and how many references either side had.

    a: fraction · cut: of `log_ratio`, a member is at or above it · scores [Σm]: the shadows' `log_ratio`, one shadow
    after the other · shadow_references, target_references: {references a point could use: points that had so many}.
    """

    a: float
    cut: float
    scores: np.ndarray
    shadow_references: dict
    target_references: dict


def mirror(games, members, target_usable, grid):
    """Choose a, and the cut on the ratio, where the attacker knows the answer: with each of his shadows attacked.

    Each shadow's references are the other shadows that did not train on the point and, with disjoint pools, the
    target (`signals.out_references`), so that like the target's score a shadow's is a mean over several.

    games: a (log_p [m], log_p_references [m,r], usable [m,r]) of each shadow on its own points, as in `log_ratio`;
    members: its [m] bool; target_usable [n,r], the references of the target's points; grid of fractions, a single one
    to have it taken. Gives the Mirrored. With one shadow it is the source's, several are this project's.
    """
    log_p = np.concatenate([np.asarray(log_p, np.float64) for log_p, _, _ in games])
    log_mean = np.concatenate([_log_mean(references, usable) for _, references, usable in games])
    member = np.concatenate(members)
    a = float(max(sorted(grid), key=lambda a: auc(_log_ratio(log_p, log_mean, a), member)))
    scores = _log_ratio(log_p, log_mean, a)
    counts = np.concatenate([np.sum(usable, axis=1) for _, _, usable in games])
    return Mirrored(a, fit_threshold(scores, member), scores, _histogram(counts),
                    _histogram(checked_usable(target_usable).sum(1)))


def _histogram(counts):
    values, points = np.unique(counts, return_counts=True)
    return dict(zip(values.tolist(), points.tolist(), strict=True))


# As attacks: who plays against whom, and where the cut comes from.

def missing(attacked):
    """{attack that cannot be run: one line on it}, where models made elsewhere were not asked all that is needed."""
    both = [RATIO, POPULATION]
    if not has_references(attacked):
        return dict.fromkeys(both, "RMIA is left out: with shared pools it needs two shadows")
    if not asked(attacked.shadows, [attacked.target]):
        return dict.fromkeys(both, "RMIA is left out: it needs every shadow's answers on the target's scored rows")
    if not asked(attacked.models, attacked.shadows):
        return {POPULATION: "RMIA's ACC and its population score are left out: they need every model's answers on the "
                            "shadows' scored rows"}
    return {}


def game(attacked, player, index, shown=None):
    """RMIA's inputs where one world's model is attacked on these pictures.

    Arguments as `games.gaps`. Gives log_p [n], log_p_references [n, r], usable [n, r].
    """
    gap, of_references, usable = gaps(attacked, player, index, shown)
    return log_posterior(gap), log_posterior(of_references), usable


def _mirrored(attacked, a):
    """(Mirrored or None where the mirrored game cannot be played, a, the target's game)."""
    ours = game(attacked, TARGET, attacked.target.index, attacked.target)
    if not asked(attacked.models, attacked.shadows):
        if a == "auto":
            raise CompLeakError("--rmia_a auto: choosing it needs every model's answers on the shadows' scored "
                                "rows; give a number in 0-1")
        return None, a, ours
    games = [game(attacked, 1 + i, shadow.index, shadow) for i, shadow in enumerate(attacked.shadows)]
    found = mirror(games, [shadow.member for shadow in attacked.shadows], ours[2], A_GRID if a == "auto" else [a])
    return found, found.a, ours


def _notes(found):
    """What the mirrored game decided, for the result: a, and {references a point could use: points} of both sides."""
    if found is None:
        return None
    return {"a": found.a, **{side: {str(count): points for count, points in getattr(found, side).items()}
                             for side in ("shadow_references", "target_references")}}


def _run_ratio(attacked, context):
    found, a, ours = _mirrored(attacked, context.options.rmia_a)
    scores = log_ratio(*ours, a)
    if found is None:
        return Scored(scores)
    return Scored(scores, scores >= found.cut, found.scores, notes=_notes(found))


def _run_population(attacked, context):
    found, a, ours = _mirrored(attacked, context.options.rmia_a)
    scores = log_ratio(*ours, a)
    if "rmia_population" in context.choices:
        shares = population_score(scores, _released_population(attacked))
        return Scored(shares, shares > RELEASED_CUT, notes=_notes(found))
    population = np.unique(np.concatenate([shadow.index[~shadow.member] for shadow in attacked.shadows]))
    log_p, references, usable = game(attacked, TARGET, population)
    shares = population_score(scores, log_ratio(log_p, references, usable, a))
    return Scored(shares, scores >= found.cut, notes=_notes(found))


def _released_population(attacked):
    """The log-ratios of every shadow's scored rows, members too and as it was shown them, with uncorrected references:
    a = 1 leaves their mean as it is."""
    games = [game(attacked, TARGET, shadow.index, shadow) for shadow in attacked.shadows]
    return np.concatenate([log_ratio(log_p, of, np.ones_like(usable), 1) for log_p, of, usable in games])


def _attack(name, run, short, *choices):
    return Attack(name, run, knowledge=REFERENCE, short=short, choices=choices, options=("rmia_a",),
                  released_tpr=percentile_tpr)


ATTACKS = (_attack(RATIO, _run_ratio, "RMIA"), _attack(POPULATION, _run_population, "RMIA pop", "rmia_population"))
