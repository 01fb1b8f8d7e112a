"""RMIA as an attack: who plays against whom, with which references, and where the cut comes from."""
from typing import NamedTuple

import numpy as np

from attacks.attack import REFERENCE, Attack, Scored
from attacks.rmia import log_ratio, mirror, population_score
from attacks.signals import TARGET, label_gap, log_posterior, out_references
from common.errors import CompLeakError
from common.paths import OWN

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


def game(attacked, player, index):
    """RMIA's inputs where one world's model is attacked on these pictures.

    player: its place among the worlds, 0 the target. Gives log_p [n], log_p_references [n, r], usable [n, r]: the
    references are all other models that did not train on the point, the target among them for a shadow, since a shadow
    is attacked on points that are none of the target's.
    """
    answers = [model.queries.at(index) for model in attacked.models]
    log_p = np.stack([log_posterior(label_gap(logits, labels)) for logits, labels, _ in answers], axis=1)
    usable = out_references(np.stack([member for _, _, member in answers], axis=1), player, disjoint=True)
    others = np.arange(len(answers)) != player
    return log_p[:, player], log_p[:, others], usable[:, others]


def _mirrored(attacked, a):
    """(rmia.Mirrored or None where the mirrored game cannot be played, a, the target's game)."""
    ours = game(attacked, TARGET, attacked.target.index)
    if not _asked(attacked.models, attacked.shadows):
        if a == "auto":
            raise CompLeakError("--rmia_a auto: choosing it needs every model's answers on the shadows' scored "
                                "rows; give a number in 0-1")
        return None, a, ours
    games = [game(attacked, 1 + i, shadow.index) for i, shadow in enumerate(attacked.shadows)]
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
    return Scored(scores, None if found is None else scores >= found.cut, notes=_notes(found))


def _run_population(attacked, context):
    found, a, ours = _mirrored(attacked, context.options.rmia_a)
    scores, released = log_ratio(*ours, a), "rmia_population" in context.choices
    population = np.unique(np.concatenate([shadow.index if released else shadow.index[~shadow.member]
                                           for shadow in attacked.shadows]))
    log_p, references, usable = game(attacked, TARGET, population)
    if released:  # a = 1 leaves the references' mean as it is
        shares = population_score(scores, log_ratio(log_p, references, np.ones_like(usable), 1))
        return Scored(shares, shares >= RELEASED_CUT, notes=_notes(found))
    shares = population_score(scores, log_ratio(log_p, references, usable, a))
    return Scored(shares, scores >= found.cut, notes=_notes(found))


ATTACKS = (Attack(RATIO, _run_ratio, knowledge=REFERENCE, short="RMIA", options=("rmia_a",)),
           Attack(POPULATION, _run_population, knowledge=REFERENCE, short="RMIA pop", choices=("rmia_population",),
                  options=("rmia_a",)))
