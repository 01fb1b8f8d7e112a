"""`confidence` and `calibrated`: one learner on what the versions that a setting allows say of a point.

`confidence` sees φ of each version (attacks/signals.py), `calibrated` also each version's reference r: how sure models
that did not train on the point are of its label (difficulty calibration). Learner and knowledge are the same in NR, SR
and MR, so that only the published versions differ. The control for more queries has fixed views of one model (its
mirror image, shifts by a pixel) in the versions' place. `calibrated_all` is `calibrated`, fitted the same, with all of
a target point's references instead of as many as a shadow's point has.
Source of the calibration: Watson et al., ICLR 2022, section 3; of several versions together: this project.
"""
import numpy as np

from attacks.attack import FITTED, REFERENCE, Scored
from attacks.classifiers import equal_rows
from attacks.games import Side
from attacks.learners import Rows, learn
from attacks.signals import TARGET, reference_mean
from common.seeds import derive_seed

CONFIDENCE, CALIBRATED, CALIBRATED_ALL = "confidence", "calibrated", "calibrated_all"
EDITION = {CALIBRATED: 2}  # since then a target's points have the shadow game's numbers of references exactly
KNOWLEDGE = {CONFIDENCE: FITTED, CALIBRATED: REFERENCE, CALIBRATED_ALL: REFERENCE}


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
    shadow = features(name, [one.shadows for one in signals])
    target = features(name, [_all(one) if name == CALIBRATED_ALL else one.target for one in signals])
    found = learn(shadow, rows, target, derive_seed(context.seed, "learner"))
    return Scored(found.target, found.target > 0.5, found.shadow, notes={"kind": found.kind, "areas": found.areas})


def _all(signals):
    """The target's Side with every reference that a point has."""
    ours = signals.games[TARGET]
    return Side(ours.phi, reference_mean(ours.out_phi, ours.out))


def features(name, sides):
    """φ of all k versions, but for `confidence` then r of all: [n, k] or [n, 2k] from k `games.Side`."""
    references = [] if name == CONFIDENCE else [side.reference for side in sides]
    return np.column_stack([side.phi for side in sides] + references)
