"""Who plays against whom: one world's model is attacked, the others that did not train on a point are references."""
from typing import NamedTuple

import numpy as np

from attacks.signals import (
    TARGET,
    completed,
    draw_references,
    in_references,
    label_gap,
    out_references,
    reference_mean,
)
from common.paths import OWN
from common.seeds import derive_seed


def asked(models, about):
    """Whether these models answered all rows of those.

    Only models made elsewhere may lack some: a run's own models that do are out of date, which reading the rows says.
    """
    return models[0].queries.meta.get("rows") != OWN.dataset or all(
        model.queries.holds(other.index) for model in models for other in about)


def gaps(attacked, player, index, shown=None, inside=False):
    """φ where one world's model is attacked on these pictures, and φ of the same version of its references.

    player: its place among the worlds, 0 the target; index [n]. The references are all other models that did not train
    on the point, the target among them for a shadow where pools are disjoint, since a shadow is then attacked on points
    that are none of the target's. With shared pools the target is never one, and a point that all others trained on
    takes those, less the mean member shift (`signals.completed`). shown: as in `inputs.Answers.at`, for all
    models. inside: the references are the shadows that did train on the point, of which only shared pools have some.
    Gives phi [n], of_references [n, r], usable [n, r] bool, r models in the worlds' order.
    """
    answers = [model.at(index, shown) for model in attacked.models]
    phi = np.stack([label_gap(logits, labels) for logits, labels, _ in answers], axis=1)
    trained = np.stack([member for _, _, member in answers], axis=1)
    usable, others = out_references(trained, player, attacked.disjoint), in_references(trained, player)
    if inside:
        usable, others = others, usable
    of_references = phi
    if not attacked.disjoint:
        of_references, usable = completed(phi, usable, others)
    rest = np.arange(len(answers)) != player
    return phi[:, player], of_references[:, rest], usable[:, rest]


def has_references(attacked, fewest=1):
    """Whether a shadow that is attacked can have so many references: with shared pools the target is none."""
    return len(attacked.shadows) - (not attacked.disjoint) >= fewest


def has_trained(attacked):
    """Whether in every world some of its scored points were trained on by a shadow, another than the attacked one."""
    return all(in_references(np.stack([model.at(player.index)[2] for model in attacked.models], axis=1), place).any()
               for place, player in enumerate(attacked.models))


class Game(NamedTuple):
    """One world's model attacked on its own scored rows.

    phi [n] of the model, or [n, k] of k versions · out_phi [n, r], or [n, r, k], of the others, and out [n, r] bool,
    which of them stand for "did not train on the point" · in_phi, inside: the same for "did", None with disjoint pools,
    as is trained [n, r] bool, which of the others did: a point without one kind has the other's stand for it.
    """

    phi: np.ndarray
    out_phi: np.ndarray
    out: np.ndarray
    in_phi: np.ndarray | None
    inside: np.ndarray | None
    trained: np.ndarray | None


def game(attacked, player):
    """The Game of one world, its place as in `gaps`."""
    model = attacked.models[player]
    phi, out_phi, out = gaps(attacked, player, model.index, model)
    if attacked.disjoint:
        return Game(phi, out_phi, out, None, None, None)
    _, in_phi, inside = gaps(attacked, player, model.index, model, inside=True)
    others = [one for place, one in enumerate(attacked.models) if place != player]
    trained = np.stack([one.at(model.index, model)[2] for one in others], axis=1)
    return Game(phi, out_phi, out, in_phi, inside, trained)


class Side(NamedTuple):
    """phi [n], and reference [n] (`signals.reference_mean`) or None where the references were not asked."""

    phi: np.ndarray
    reference: np.ndarray | None


class Signals(NamedTuple):
    """What one version says of the scored points: on the target's m rows, and on the shadows' Σm; the Game of every
    world, the target's first, where all can have two references, else None."""

    target: Side
    shadows: Side
    games: list | None


def signals_of(attacked, seed):
    """The Signals of one version; references where there are some and every model answered every scored row.

    A target's point draws as many of its references as a shadow's point has (`signals.draw_references`), the same ones
    for every version, so that what is fitted on the one meets its like in the other. seed int of the run.
    """
    if not (asked(attacked.models, attacked.models) and has_references(attacked)):
        phi = [label_gap(model.logits, model.labels) for model in attacked.models]
        return Signals(Side(phi[TARGET], None), Side(np.concatenate(phi[1:]), None), None)
    ours, *each = games = [game(attacked, player) for player in range(len(attacked.models))]
    counts = np.concatenate([one.out.sum(1) for one in each])
    drawn = draw_references(ours.out, counts, derive_seed(seed, "references"))
    return Signals(Side(ours.phi, reference_mean(ours.out_phi, drawn)),
                   Side(np.concatenate([one.phi for one in each]),
                        np.concatenate([reference_mean(one.out_phi, one.out) for one in each])),
                   games if has_references(attacked, 2) else None)
