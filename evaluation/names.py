"""What versions, attacks and groups are called in narrow tables and figures: one name everywhere."""
from attacks import nr, sr
from common.paths import Version
from models import compression

ATTACKS = {**nr.ATTACKS, **sr.ATTACKS}


def short(name):
    """The narrow name of a version, an attack, or words that hold some of them, such as "SR2 (RF) on pruning_0.6"."""
    return " ".join(map(_word, _joined(name.split(" "))))


def _joined(words):
    """Words, "(…)" after an attack's name kept with it."""
    found = []
    for word in words:
        if found and word.startswith("("):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _word(word):
    bare = word.rstrip(",")
    if bare in ATTACKS:
        return ATTACKS[bare].short + word[len(bare):]
    return compression.short(Version.named(bare)) + word[len(bare):]
