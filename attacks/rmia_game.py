"""RMIA as an attack: who plays against whom, with which references, and where the cut comes from."""
from typing import NamedTuple

import numpy as np

from attacks.attack import REFERENCE, Attack, Scored
from attacks.games import asked, gaps, has_references
from attacks.rmia import log_ratio, mirror, population_score
from attacks.signals import TARGET, log_posterior
from common.errors import CompLeakError
from common.metrics import percentile_tpr

A_GRID = np.linspace(0, 1, 11)
RELEASED_CUT = 0.7  # of the population score, in the released protocol
RATIO, POPULATION = "RMIA", "RMIA (population)"


class Missing(NamedTuple):
    """Names of attacks that lack answers, and a line on each."""

    names: list
    lines: list


def missing(attacked):
    """What cannot be run, the Missing, where models made elsewhere were not asked all that is needed."""
    if not has_references(attacked):
        return Missing([RATIO, POPULATION], ["RMIA is left out: with shared pools it needs two shadows"])
    if not asked(attacked.shadows, [attacked.target]):
        return Missing([RATIO, POPULATION], ["RMIA is left out: it needs every shadow's answers on the target's scored "
                                             "rows"])
    if not asked(attacked.models, attacked.shadows):
        return Missing([POPULATION], ["RMIA's ACC and its population score are left out: they need every model's "
                                      "answers on the shadows' scored rows"])
    return Missing([], [])


def game(attacked, player, index, shown=None):
    """RMIA's inputs where one world's model is attacked on these pictures.

    Arguments as `games.gaps`. Gives log_p [n], log_p_references [n, r], usable [n, r].
    """
    gap, of_references, usable = gaps(attacked, player, index, shown)
    return log_posterior(gap), log_posterior(of_references), usable


def _mirrored(attacked, a):
    """(rmia.Mirrored or None where the mirrored game cannot be played, a, the target's game)."""
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
    """The log-ratios of every shadow's scored rows, members too and as it was shown them, with uncorrected references.

    a = 1 leaves the references' mean as it is.
    """
    found = []
    for shadow in attacked.shadows:
        log_p, references, usable = game(attacked, TARGET, shadow.index, shadow)
        found.append(log_ratio(log_p, references, np.ones_like(usable), 1))
    return np.concatenate(found)


def _attack(name, run, short, *choices):
    return Attack(name, run, knowledge=REFERENCE, short=short, choices=choices, options=("rmia_a",),
                  released_tpr=percentile_tpr)


ATTACKS = (_attack(RATIO, _run_ratio, "RMIA"), _attack(POPULATION, _run_population, "RMIA pop", "rmia_population"))
