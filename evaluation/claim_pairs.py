"""Which comparisons each of the paper's claims makes, fixed before any result."""
from typing import NamedTuple

from attacks import equals, mr, nr, sr
from attacks.groups import groups_of, paper_groups
from attacks.mr import AGGREGATED
from common.paths import ORIGINAL
from evaluation.best import LEVELS
from evaluation.comparisons import BEST, EQUIVALENCE, EVERY_NR, MARGIN, SAME_FAMILY, SAME_KNOWLEDGE, Pair
from evaluation.names import is_control
from models import compression

# All fixed before any result: which models are heavily or lightly compressed, and which attack speaks for SR.
HEAVY = ("pruning_0.9", "clustering_4")
LIGHT = ("pruning_0.6", "quantization_int8", "clustering_16")
MAIN_SR = sr.AGGREGATED


class Claim(NamedTuple):
    """A claim in words, and {way of judging it: what is then compared, in words}."""

    words: str
    ways: dict


CLAIMS = {
    "C1": Claim("Heavily compressed models leak less than the original, lightly compressed ones as much", {
        EVERY_NR: "heavily compressed models (90% pruned, 4 centroids) leak less than the original",
        EQUIVALENCE: f"lightly compressed ones (60% pruned, int8, 16 centroids) leak as much, AUC ±{MARGIN:g}"}),
    "C2": Claim("The original and one compressed model leak more than one model", {
        SAME_FAMILY: "SR beats the same attack with either model in both places",
        EVERY_NR: f"{MAIN_SR} beats every NR attack on either model",
        SAME_KNOWLEDGE: "the best of SR beats the best NR attack of the same knowledge on either model",
        BEST: "the attacker's best with one compressed model beats his best on one model"}),
    "C3": Claim("Several compressed models leak still more", {
        SAME_FAMILY: "MR beats the attack it aggregates on each of its models, and itself on the original repeated",
        EVERY_NR: "MR beats every NR attack on its models",
        SAME_KNOWLEDGE: "the best of MR beats the best NR attack of the same knowledge on its models",
        BEST: "the attacker's best with several compressed models beats his best with one"})}


def expected_parts(run):
    """{(claim, way): how many parts it has in a whole run}."""
    compressed = len([version for version in run.wanted()[1:] if not compression.is_control(version)])
    groups, named = _groups(run), set(map(str, run.wanted()))
    families = [attack for attack in sr.ATTACKS.values() if attack.family]
    levels = {setting: len({attack.knowledge for attack in attacks} & {*LEVELS}) for setting, attacks in (
        ("SR", sr.ATTACKS.values()), ("MR", [mr.attack_of(f"any, {row}") for row in mr.ROWS]))}
    return {("C1", EVERY_NR): len(named & {*HEAVY}), ("C1", EQUIVALENCE): len(named & {*LIGHT}),
            ("C2", SAME_FAMILY): len(families) * compressed, ("C2", EVERY_NR): compressed,
            ("C2", SAME_KNOWLEDGE): levels["SR"] * compressed, ("C2", BEST): 1,
            ("C3", SAME_FAMILY): len(AGGREGATED) * groups, ("C3", EVERY_NR): len(AGGREGATED) * groups,
            ("C3", SAME_KNOWLEDGE): levels["MR"] * len(AGGREGATED) * groups, ("C3", BEST): 1}


def _groups(run):
    """How many groups a whole run has: the paper's, and those that its own compressed versions fill."""
    compressed = [version for version in run.versions() if version != ORIGINAL and not compression.is_control(version)]
    present = groups_of(compressed)
    return len({**present, **({} if run.layout.is_own else paper_groups())})


# Which comparisons each claim makes. keys: (setting, model, attack) of every attack that all runs have.

def nr_attacks(keys, *models):
    """The names of the NR attacks that all of these models have, those apart that need several references.

    None where a model has not been attacked, or by some alone: NR keeps each attack by itself, and what MR needs is
    there before the rest. Attacks that need sensitivities may be missing.
    """
    names = [[attack for _, _, attack in _every_nr(keys, [wanted])] for wanted in models]
    whole = {attack for _, _, attack in _every_nr(keys) if not nr.ATTACKS[attack].sensitive}
    if not all(whole <= set(others) for others in names):
        return []
    return [attack for attack in names[0] if all(attack in others for others in names)]


def _every_nr(keys, models=None):
    """The keys of NR attacks on these models, or all: without those that need several references, no paper's six."""
    return [key for key in keys if key[0] == "NR" and key[2] not in equals.SEVERAL and (not models or key[1] in models)]


def c1_pairs(keys):
    """C1: each NR attack on a compressed model against the same attack on the original.

    Heavy compression: less leaks, so the difference is below 0; an attack that sees nothing on the original (its
    interval reaches chance) cannot find less, and only counts where it finds more. Light: within ±0.01 AUC.
    """
    found = []
    for versions, judged, sign in ((HEAVY, EVERY_NR, -1), (LIGHT, EQUIVALENCE, 1)):
        for version in versions:
            found += [Pair("C1", version, judged, ("NR", version, attack), ("NR", str(ORIGINAL), attack), sign,
                           needs_signal=judged == EVERY_NR) for attack in nr_attacks(keys, str(ORIGINAL), version)]
    return found


def c2_pairs(keys):
    """C2: each SR attack against its family on the original and on the compressed model (SR1 and SR2: the same features
    of that model given twice), and SR2 (RF) against every NR attack on either. A version that lacks NR on either is
    left out."""
    found = []
    for key in keys:
        setting, version, attack = key
        models = (str(ORIGINAL), version)
        if setting != "SR" or attack not in sr.ATTACKS or is_control(key, {}) or not nr_attacks(keys, *models):
            continue
        if family := sr.ATTACKS[attack].family:
            against = [("NR", model, family) for model in models]
            found += [Pair("C2", version, SAME_FAMILY, key, one) for one in against if set(against) <= set(keys)]
        if attack == MAIN_SR:
            found += [Pair("C2", version, EVERY_NR, key, against) for against in _every_nr(keys, models)]
    return found


def c3_pairs(keys, groups):
    """C3: MR against what it aggregates (with the original: SR2's forest; without: train_based_2's forest alone) on
    each of its models and against MR of the original repeated, and against every NR attack on the models it is given.
    A group that lacks one is left out."""
    found = []
    for key in keys:
        setting, group, knows = key
        if setting != "MR" or knows not in AGGREGATED or is_control(key, groups):
            continue
        version, (kind, attack) = f"{group}, {knows}", AGGREGATED[knows]
        same = [*((kind, model, attack) for model in groups[group]), ("MR", group, mr.REPEATED)]
        models = [*([str(ORIGINAL)] if kind == "SR" else []), *groups[group]]
        if set(same) <= set(keys):
            found += [Pair("C3", version, SAME_FAMILY, key, against) for against in same]
        if nr_attacks(keys, *models):
            found += [Pair("C3", version, EVERY_NR, key, against) for against in _every_nr(keys, models)]
    return found
