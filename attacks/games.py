"""Who plays against whom: one world's model is attacked, the others that did not train on a point are references."""
from dataclasses import dataclass
from itertools import islice
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
    """Whether each of `models` was asked every scored row of each of `about`.

    Only models made elsewhere may lack some: a run's own models that do are out of date, which reading the rows says.
    """
    return models[0].queries.meta.get("rows") != OWN.dataset or all(
        model.queries.holds(other.index) for model in models for other in about)


def phi_of(attacked, index, shown=None):
    """φ of all models of a version on these pictures, [n, w] in the worlds' order, and whether each trained on them.

    index [n]; shown: as in `inputs.Answers.at`, for all models.
    """
    phi, trained = [], []
    for model in attacked.models:  # one at a time: all their logits together would be large
        logits, labels, member = model.at(index, shown)
        phi.append(label_gap(logits, labels))
        trained.append(member)
    return np.stack(phi, axis=1), np.stack(trained, axis=1)


def gaps(attacked, player, index, shown=None):
    """`against` on these pictures; index and shown as of `phi_of`."""
    return against(*phi_of(attacked, index, shown), player, attacked.disjoint)


def against(phi, trained, player, disjoint, inside=False):
    """φ where one world's model is attacked, and φ of the same version of its references.

    phi, trained [n, w] of `phi_of`; player: its place among the worlds, 0 the target. The references are all other
    models that did not train on the point, the target among them for a shadow where pools are disjoint, since a shadow
    is then attacked on points that are none of the target's. With shared pools the target is never one, and a point
    that all others trained on takes those, less the mean member shift (`signals.completed`). inside: the references are
    the shadows that did train on the point, of which only shared pools have some.
    Gives phi [n], of_references [n, r], usable [n, r] bool, r models in the worlds' order.
    """
    usable, others = out_references(trained, player, disjoint), in_references(trained, player)
    if inside:
        usable, others = others, usable
    of_references = phi
    if not disjoint:
        of_references, usable = completed(phi, usable, others)
    rest = np.arange(phi.shape[1]) != player
    return phi[:, player].copy(), of_references[:, rest], usable[:, rest]  # a view would hold all models' φ


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


@dataclass(frozen=True)
class Games:
    """The Game of every world, the target's first, each formed when it is asked for: with many shadows all of them
    would not fit into memory.

    phi, trained [N, w] of `phi_of`, each scored picture once; rows: the [n] of them that are each world's.
    """

    phi: np.ndarray
    trained: np.ndarray
    rows: list
    disjoint: bool

    def __iter__(self):
        return (self[player] for player in range(len(self.rows)))

    def __getitem__(self, player):
        phi, trained = self.phi[self.rows[player]], self.trained[self.rows[player]]
        ours = against(phi, trained, player, self.disjoint)
        if self.disjoint:
            return Game(*ours, None, None, None)
        _, in_phi, inside = against(phi, trained, player, self.disjoint, inside=True)
        return Game(*ours, in_phi, inside, np.delete(trained, player, axis=1))


def games_of(attacked):
    """The Games of one version. Members shown through crops are another picture in each world's game."""
    indices = [model.index for model in attacked.models]
    if attacked.target.crops:
        rows = np.split(np.arange(sum(map(len, indices))), np.cumsum([len(index) for index in indices])[:-1])
        phi, trained = map(np.concatenate, zip(*(phi_of(attacked, model.index, model) for model in attacked.models),
                                               strict=True))
    else:
        every = np.unique(np.concatenate(indices))
        rows, (phi, trained) = [np.searchsorted(every, index) for index in indices], phi_of(attacked, every)
    return Games(phi, trained, rows, attacked.disjoint)


class Side(NamedTuple):
    """phi [n], and reference [n] (`signals.reference_mean`) or None where the references were not asked."""

    phi: np.ndarray
    reference: np.ndarray | None


class Signals(NamedTuple):
    """What one version says of the scored points: on the target's m rows, and on the shadows' Σm; the Game of every
    world, the target's first, where all can have two references, else None."""

    target: Side
    shadows: Side
    games: Games | None


def signals_of(attacked, seed):
    """The Signals of one version; references where there are some and every model answered every scored row.

    A target's point draws as many of its references as a shadow's point has (`signals.draw_references`), the same ones
    for every version, so that what is fitted on the one meets its like in the other. seed int of the run.
    """
    if not (asked(attacked.models, attacked.models) and has_references(attacked)):
        phi = [label_gap(model.logits, model.labels) for model in attacked.models]
        return Signals(Side(phi[TARGET], None), Side(np.concatenate(phi[1:]), None), None)
    games = games_of(attacked)
    ours, each = games[TARGET], islice(games, 1, None)
    phi, counts, references = map(np.concatenate, zip(*(
        (one.phi, one.out.sum(1), reference_mean(one.out_phi, one.out)) for one in each), strict=True))
    drawn = draw_references(ours.out, counts, derive_seed(seed, "references"))
    return Signals(Side(ours.phi, reference_mean(ours.out_phi, drawn)), Side(phi, references),
                   games if has_references(attacked, 2) else None)
