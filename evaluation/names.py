"""What attacks, versions and groups are called. An attack's key is (setting, model, attack), of MR a group as model."""
import re

from attacks import mr, nr, sr
from common.paths import Version
from models import compression

ATTACKS = {**nr.ATTACKS, **sr.ATTACKS}
ANY = "any"  # the model of an attack that was chosen among several models
SETTINGS = {"NR": "on one model", "SR": "with one compressed", "MR": "with several"}
TUNED, VIEWED = "fine-tuned", "views"
# Of the attacker's best, what he has.
ROWS = {"original": "on the original alone", **SETTINGS, TUNED: "with fine-tuned, not compressed",
        VIEWED: "with more questions to the original"}
PART = re.compile(r"[^ ,]+(?: \([^ ,]*)?")  # a word, with what stands in brackets after it


def runs_in_words(runs):
    """Runs of claims.json in words: seed 0; seeds 0, 1; or 9 targets of seed 0, where one run's models are attacked in
    turn."""
    seeds = list(dict.fromkeys(run["seed"] for run in runs))
    if len(runs) > len(seeds) == 1:
        return f"{len(runs)} targets of seed {seeds[0]}"
    return f"seed{'s' if len(runs) > 1 else ''} {', '.join(run.get('name', str(run['seed'])) for run in runs)}"


def short(words):
    """The narrow name of a version, an attack, or words that hold some of them, such as "SR2 (RF) on pruning_0.6"."""
    return PART.sub(lambda found: _short(found[0]), str(words))


def _short(name):
    return ATTACKS[name].short if name in ATTACKS else compression.short(Version.named(name))


def label(key):
    """A key in words."""
    setting, model, attack = key
    if model == ANY:
        return f"{attack} {SETTINGS[setting]}"
    if setting == "MR":
        return f"MR of {model}, {attack}"
    return f"{attack} on {'original + ' if setting == 'SR' else ''}{model}"


def key_of(setting, label):
    """The inverse of `label`, of an attack on a model or a group."""
    if setting == "MR":
        return setting, *label.removeprefix("MR of ").rsplit(", ", 1)
    attack, model = label.rsplit(" on ", 1)
    return setting, model.removeprefix("original + "), attack


def attack_of(key):
    """The Attack of a key."""
    setting, model, attack = key
    return mr.attack_of(f"{model}, {attack}") if setting == "MR" else {"NR": nr, "SR": sr}[setting].ATTACKS[attack]


def is_tuned(key, groups):
    """Whether all compressed versions that an attack sees were only fine-tuned; groups: {MR's group: [model]}."""
    setting, model, _ = key
    return all(compression.is_control(Version.named(one)) for one in (groups[model] if setting == "MR" else [model]))


def is_control(key, groups):
    """Whether an attack is a control, whose versions are fine-tuned alone, or the original repeated, or views of it;
    groups as of `is_tuned`."""
    return is_tuned(key, groups) or key[2] == mr.REPEATED or key[2] in mr.ON_VIEWS
