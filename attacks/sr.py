"""Single reference: the original and one compressed version together (SR1, SR2, what learner and LiRA see, losses)."""
from typing import NamedTuple

import numpy as np

from attacks import equals, learned, lira_game, nr, train_based, twice
from attacks.attack import FITTED, NONE, Attack, Scored
from attacks.calibrated import sr_sets
from attacks.classifiers import FITS
from attacks.features import sr_features
from attacks.games import signals_of
from attacks.inputs import Attacked, check_pair, identities, need_shadows, read_version
from attacks.loss_change import loss_difference, loss_ratio
from attacks.metric_based import fit_threshold
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

    return Attack(f"SR{number} ({kind})", run, FITTED, family=twice.name_of(number, kind), short=f"SR{number} {kind}",
                  label=labelled)


def _features(original, compressed, labelled):
    return sr_features(original.logits, compressed.logits, original.labels, labelled)


def _among_equals(name):
    def run(pair, context):
        signals = {each.version: signals_of(each, context.seed) for each in pair}
        if name in lira_game.JOINT:
            return lira_game.joint(name, signals.values(), pair.compressed.shadow_member)
        return learned.run_learned(name, signals, lambda phi, *of: sr_sets(phi, pair.original.version,
                                                                           *of)[pair.compressed.version],
                                   learned.rows_of(pair.compressed), context)

    return Attack(name, run, equals.KNOWLEDGE[name], family=None if name in equals.SEVERAL else name,
                  short=name.replace("_LiRA_", " LiRA "))


def _change(name, score):
    """score: (original losses, compressed losses), nats → [m], high for members; the cut alone comes from shadows."""

    def run(pair, context):
        scores = score(pair.original.target.losses, pair.compressed.target.losses)
        on_shadow = score(pair.original.stacked("losses"), pair.compressed.stacked("losses"))
        return Scored(scores, scores >= fit_threshold(on_shadow, pair.compressed.shadow_member), on_shadow)

    return Attack(name, run, knowledge=NONE, short=name)


ATTACKS = {attack.name: attack for attack in (
    *(_attack(number, kind) for number in (1, 2) for kind in FITS), *map(_among_equals, equals.KNOWLEDGE),
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


def attack_version(run, version, context, names=None, shadow_num=None):
    """Attack one pair and keep the results; finished ones stay. Gives the values of SR.json.

    Of NR, the one attack that MR without the original is made from is run on the compressed version where it is not
    there, so that MR needs nothing but SR.
    """
    with locked(run.layout.result(version, "SR.json")):
        pair = Pair(read_version(run, ORIGINAL, shadow_num), read_version(run, version, shadow_num))
        check_pair(run, *pair)
        need_shadows(run, pair.compressed.shadows, "SR")
        known, (attacks, lines) = made_from(pair.original.identities, pair.compressed.identities), possible(pair)
        jobs = {name: (attack, known, pair) for name, attack in attacks.items()}
        for line in lines if names is None or not equals.NAMES.isdisjoint(names) else ():
            print(f"original + {version}: {line}")
        values = Results(run, version, "SR").complete(jobs, pair.compressed.target, context, names,
                                                      {"shadows": len(pair.compressed.shadows)},
                                                      shadow_member=pair.compressed.shadow_member)
    nr.attack_version(run, version, context, [train_based.AGGREGATED], shadow_num, wait=3600)
    return values
