"""Single reference: the original and one compressed version together (features SR1 and SR2, two classifiers)."""
from typing import NamedTuple

import numpy as np

from attacks import nr, train_based
from attacks.attack import Attack
from attacks.classifiers import FITS
from attacks.features import sr_features
from attacks.inputs import Attacked, check_pair, identities, need_shadows, read_version
from attacks.results import Results
from common.files import locked
from common.paths import ORIGINAL

AGGREGATED = "SR2 (RF)"  # what MR with the original is made from


class Pair(NamedTuple):
    """The original and one compressed version, rows paired."""

    original: Attacked
    compressed: Attacked


def _attack(number, kind):
    labelled = number == 2

    def run(pair, context):
        both = zip(pair.original.shadows, pair.compressed.shadows, strict=True)
        fitted_on = np.concatenate([_features(one, other, labelled) for one, other in both])
        scored = _features(pair.original.target, pair.compressed.target, labelled)
        return train_based.classify(fitted_on, scored, pair.compressed, kind, context.seed,
                                    aggregated=f"SR{number} ({kind})" == AGGREGATED)

    return Attack(f"SR{number} ({kind})", run, family=f"train_based_{number} ({kind})", short=f"SR{number} {kind}",
                  label=labelled)


def _features(original, compressed, labelled):
    return sr_features(original.logits, compressed.logits, original.labels, labelled)


ATTACKS = {attack.name: attack for attack in (_attack(number, kind) for number in (1, 2) for kind in FITS)}


def made_from(original, compressed):
    """What an SR attack's result depends on, from both versions' `inputs.Identities`."""
    return {"original": original.answers, "answers": compressed.answers}


def expected(run, version, context, shadow_num=None):
    """{attack: everything that its result would be made from now}."""
    known = made_from(identities(run, ORIGINAL, shadow_num), identities(run, version, shadow_num))
    return {name: attack.inputs(known, context) for name, attack in ATTACKS.items()}


def attack_version(run, version, context, names=None, shadow_num=None):
    """Attack one pair and keep the results; finished ones stay. Gives the values of SR.json.

    Of NR, the one attack that MR without the original is made from is run on the compressed version where it is not
    there, so that MR needs nothing but SR.
    """
    with locked(run.layout.result(version, "SR.json")):
        pair = Pair(read_version(run, ORIGINAL, shadow_num), read_version(run, version, shadow_num))
        check_pair(run, *pair)
        need_shadows(run, pair.compressed.shadows, "SR")
        known = made_from(pair.original.identities, pair.compressed.identities)
        jobs = {name: (attack, known, pair) for name, attack in ATTACKS.items()}
        values = Results(run, version, "SR").complete(jobs, pair.compressed.target, context, names,
                                                      {"shadows": len(pair.compressed.shadows)})
    nr.attack_version(run, version, context, [train_based.AGGREGATED], shadow_num, wait=3600)
    return values
