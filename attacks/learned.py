"""`confidence` and `calibrated`: one learner on what the versions that a setting allows say of a point.

`confidence` sees φ of each version (attacks/signals.py), `calibrated` also each version's reference r: how sure models
that did not train on the point are of its label (difficulty calibration). Learner and knowledge are the same in NR, SR
and MR, so that only the published versions differ. The control for more queries has fixed views of one model (its
mirror image, shifts by a pixel) in the versions' place.
Source of the calibration: Watson et al., ICLR 2022, section 3; of several versions together: this project.
"""
import numpy as np

from attacks.attack import FITTED, REFERENCE, Attack, Scored
from attacks.classifiers import equal_rows
from attacks.games import asked, has_references, signals_of
from attacks.learners import Rows, learn
from common.seeds import derive_seed

CONFIDENCE, CALIBRATED = "confidence", "calibrated"
KNOWLEDGE = {CONFIDENCE: FITTED, CALIBRATED: REFERENCE}
LACKING = (f"{CALIBRATED} is left out: it needs every model's answers on all scored rows and, with shared pools, two "
           "shadows")


def attack(name, versions_of, **entry):
    """The learned Attack of NR or SR; versions_of: what the attack sees → its `inputs.Attacked` versions, in order."""

    def run(seen, context):
        versions = versions_of(seen)
        signals = [signals_of(version, context.seed) for version in versions]
        return run_learned(name, signals, rows_of(versions[-1]), context)

    return Attack(name, run, knowledge=KNOWLEDGE[name], short=name, **entry)


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


def run_learned(name, signals, rows, context):
    """The Scored of one learned attack, probabilities, a member above 0.5; its notes name the kind and the areas.

    signals: the `games.Signals` of the versions or views that the setting allows; rows: the shadows' Rows.
    """
    shadow, target = (features(name, sides) for sides in zip(*((one.shadows, one.target) for one in signals),
                                                             strict=True))
    found = learn(shadow, rows, target, derive_seed(context.seed, "learner"))
    return Scored(found.target, found.target > 0.5, found.shadow, notes={"kind": found.kind, "areas": found.areas})


def features(name, sides):
    """φ of all k versions, then for `calibrated` r of all: [n, k] or [n, 2k] from k `games.Side`."""
    references = [side.reference for side in sides] if name == CALIBRATED else []
    return np.column_stack([side.phi for side in sides] + references)
