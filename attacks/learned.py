"""`confidence` and `calibrated` as attacks: one learner on what a setting's versions say of a point."""
from typing import NamedTuple

import numpy as np

from attacks.attack import FITTED, REFERENCE, Scored
from attacks.classifiers import equal_rows
from attacks.games import asked, has_references
from attacks.learners import learn
from common.seeds import derive_seed

CONFIDENCE, CALIBRATED = "confidence", "calibrated"
KNOWLEDGE = {CONFIDENCE: FITTED, CALIBRATED: REFERENCE}
LACKING = (f"{CALIBRATED} is left out: it needs every model's answers on all scored rows and, with shared pools, two "
           "shadows")


class Rows(NamedTuple):
    """The shadows' rows: member [Σm] bool; groups [Σm] their shadow, where there are several; twins [Σm] or None."""

    member: np.ndarray
    groups: np.ndarray | None
    twins: np.ndarray | None


def possible(attacked):
    """The learned attacks that these answers allow, names."""
    if not attacked.shadows:
        return []
    whole = asked(attacked.models, attacked.models) and has_references(attacked)
    return [CONFIDENCE, CALIBRATED] if whole else [CONFIDENCE]


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

    name: CONFIDENCE or CALIBRATED · signals: {version: `games.Signals`} · select: (phi, reference or None), each
    {version: [n]} → the features [n, d] that the setting allows, of attacks/calibrated.py · rows: the shadows' Rows.
    """
    shadow, target = (_features(name, {version: side(one) for version, one in signals.items()}, select)
                      for side in (lambda one: one.shadows, lambda one: one.target))
    found = learn({name: shadow}, rows.member, {name: target}, derive_seed(context.seed, "learner"), rows.groups,
                  twins=rows.twins)[name]
    return Scored(found.target, found.target > 0.5, found.shadow, notes={"kind": found.kind, "areas": found.areas})


def _features(name, sides, select):
    phi = {version: side.phi for version, side in sides.items()}
    if name == CONFIDENCE:
        return select(phi, None)
    return select(phi, {version: side.reference for version, side in sides.items()})
