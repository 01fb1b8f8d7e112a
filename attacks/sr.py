"""Single reference: the original and one compressed version together (SR1, SR2, what learner and LiRA see, losses)."""
from typing import NamedTuple

import numpy as np

from attacks import equals, nr, train_based
from attacks.attack import NONE, Attack, Scored
from attacks.classifiers import FITS
from attacks.inputs import Attacked, check_pair, identities, need_shadows, read_version
from attacks.metric_based import fit_threshold
from attacks.results import Results
from common.files import locked
from common.paths import ORIGINAL

SMOOTHING = 5e-4  # in nats: what a loss of 0 counts as
AGGREGATED = "SR2 (RF)"  # what MR with the original is made from


class Pair(NamedTuple):
    """The original and one compressed version, rows paired."""

    original: Attacked
    compressed: Attacked


def loss_difference(original, compressed):
    """ℓ_c − ℓ_o of the losses [n] of an original and a compressed model, in nats -> [n] float64.

    High for members, which is fixed before any result is seen. The original fitted its members far below the loss that
    their difficulty would give, and compressing takes memory of single pictures away before it takes what is common to
    a class: a member's loss rises from nearly nothing. A non-member's owes nothing to memory and moves either way.
    Fine-tuning on the members works against this; where it wins, the AUC is below 50% and stays there.
    Source: Jagielski et al., PoPETs 2023, for a model before and after an update; the orientation is this project's.
    """
    return np.subtract(compressed, original, dtype=np.float64)


def loss_ratio(original, compressed):
    """(ℓ_c + c) / (ℓ_o + c) with c = SMOOTHING; arguments, orientation and source as `loss_difference`."""
    return np.add(compressed, SMOOTHING) / np.add(original, SMOOTHING)


def _change(name, score):
    """score: (original losses, compressed losses), nats → [m], high for members; the cut alone comes from shadows."""

    def run(pair, context):
        scores = score(pair.original.target.losses, pair.compressed.target.losses)
        on_shadow = score(pair.original.stacked("losses"), pair.compressed.stacked("losses"))
        return Scored(scores, scores >= fit_threshold(on_shadow, pair.compressed.shadow_member), on_shadow)

    return Attack(name, run, knowledge=NONE, short=name)


ATTACKS = {attack.name: attack for attack in (
    *(train_based.attack(f"SR{number} ({kind})", kind, labelled, train_based.side_by_side, lambda pair: pair,
                         family=train_based.twice(number, kind), short=f"SR{number} {kind}")
      for number, labelled in train_based.NUMBERS.items() for kind in FITS),
    *(equals.attack(name, lambda pair: pair, family=None if name in equals.SEVERAL else name)
      for name in equals.KNOWLEDGE),
    _change("difference", loss_difference), _change("ratio", loss_ratio))}


def possible(pair):
    """({name: Attack} that these answers allow, [a line on what they do not])."""
    allowed, lines = min(map(equals.possible, pair), key=lambda found: len(found[0]))
    lacking = equals.NAMES - allowed
    return {name: attack for name, attack in ATTACKS.items() if name not in lacking}, lines


def made_from(original, compressed):
    """What an SR attack's result depends on, from both versions' `inputs.Identities`."""
    return {"original": original.answers, "answers": compressed.answers}


def expected(run, version, context, shadow_num=None):
    """{attack: everything that its result would be made from now}."""
    known = made_from(identities(run, ORIGINAL, shadow_num), identities(run, version, shadow_num))
    return {name: attack.inputs(known, context) for name, attack in ATTACKS.items()}


def pairs(run, versions, shadow_num=None):
    """The Pair of the original, which is read once, with each of these versions; errors as `inputs.read_version`, and
    `inputs.check_pair`."""
    original = read_version(run, ORIGINAL, shadow_num)
    for version in versions:
        pair = Pair(original, read_version(run, version, shadow_num))
        check_pair(run, *pair)
        yield pair


def attack_version(run, version, context, names=None, shadow_num=None, pair=None):
    """Attack one pair and keep the results; finished ones stay. Gives the values of SR.json.

    names: of the attacks to run, default all that the answers allow; pair: from `pairs`, where it was read already.
    With SR2's forest, of which MR is made, the one attack of NR that MR without the original is made from is run on the
    compressed version, so that MR needs nothing but SR.
    """
    with locked(run.layout.result(version, "SR.json")):
        pair = pair or next(pairs(run, [version], shadow_num))
        need_shadows(run, pair.compressed.shadows, "SR")
        known, (attacks, lines) = made_from(pair.original.identities, pair.compressed.identities), possible(pair)
        jobs = {name: (attack, known, pair) for name, attack in attacks.items()}
        for line in lines if names is None or not equals.NAMES.isdisjoint(names) else ():
            print(f"original + {version}: {line}")
        values = Results(run, version, "SR").complete(jobs, pair.compressed.target, context, names,
                                                      {"shadows": len(pair.compressed.shadows)},
                                                      shadow_member=pair.compressed.shadow_member)
    if names is None or AGGREGATED in names:
        nr.attack_version(run, version, context, [train_based.AGGREGATED], shadow_num, wait=3600,
                          attacked=pair.compressed)
    return values
