"""`confidence` and `calibrated` as attacks: one learner on what a setting's versions say of a point.

`calibrated_all` is `calibrated`, fitted the same, with all of a target point's references instead of as many as a
shadow's point has.
"""
from typing import NamedTuple

import numpy as np

from attacks.attack import FITTED, REFERENCE, Scored
from attacks.classifiers import equal_rows
from attacks.games import Side
from attacks.learners import learn
from attacks.signals import reference_mean
from common.seeds import derive_seed

CONFIDENCE, CALIBRATED, CALIBRATED_ALL = "confidence", "calibrated", "calibrated_all"
KNOWLEDGE = {CONFIDENCE: FITTED, CALIBRATED: REFERENCE, CALIBRATED_ALL: REFERENCE}


class Rows(NamedTuple):
    """The shadows' rows: member [Σm] bool; groups [Σm] their shadow, where there are several; twins [Σm] or None."""

    member: np.ndarray
    groups: np.ndarray | None
    twins: np.ndarray | None


def rows_of(attacked):
    """The Rows of a version's shadows; one shadow's rows with equal answers to an equal label are taken for twins."""
    member, groups = attacked.stacked("member"), attacked.groups
    return Rows(member, groups, _twins(attacked) if groups is None else None)


def _twins(attacked):
    """The first of the rows [m] that no attack can tell apart, for each row, or None where all differ."""
    same = equal_rows(attacked.stacked("logits"), attacked.stacked("labels"))
    first = np.unique(same, return_index=True)[1]
    return first[same] if len(first) < len(same) else None


def run_learned(name, signals, select, rows, context):
    """The Scored of one learned attack, probabilities, a member above 0.5; its notes name the kind and the areas.

    name: one of KNOWLEDGE · signals: {version: `games.Signals`} · select: (phi, reference or None), each
    {version: [n]} → the features [n, d] that the setting allows, of attacks/calibrated.py · rows: the shadows' Rows.
    """
    shadow, target = (_features(name, {version: side(one) for version, one in signals.items()}, select)
                      for side in (lambda one: one.shadows, _all if name == CALIBRATED_ALL else lambda one: one.target))
    found = learn({name: shadow}, rows.member, {name: target}, derive_seed(context.seed, "learner"), rows.groups,
                  twins=rows.twins)[name]
    return Scored(found.target, found.target > 0.5, found.shadow, notes={"kind": found.kind, "areas": found.areas})


def _all(signals):
    """The target's Side with every reference that a point has."""
    ours = signals.games[0]
    return Side(ours.phi, reference_mean(ours.out_phi, ours.out))


def _features(name, sides, select):
    phi = {version: side.phi for version, side in sides.items()}
    if name == CONFIDENCE:
        return select(phi, None)
    return select(phi, {version: side.reference for version, side in sides.items()})
