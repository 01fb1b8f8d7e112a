"""The compression techniques, one entry each, and what follows from them: names, order and words of versions."""
import re

from common.errors import UsageError
from common.paths import ORIGINAL, Version
from models.compression.clustering import CLUSTERING
from models.compression.int8 import QUANTIZATION
from models.compression.onnx_int8 import ONNX_INT8
from models.compression.pruning import PRUNING

NAME = r"[^\W_](?:[\w.+-]{0,98}[^\W_])?"  # [^\W_]: letters and digits of any script
TECHNIQUES = {technique.name: technique for technique in (PRUNING, QUANTIZATION, CLUSTERING, ONNX_INT8)}


def paper_versions():
    """The versions of a whole run: the original, and each of the paper's techniques at each degree."""
    return [ORIGINAL, *(Version(name, degree) for name, technique in TECHNIQUES.items() if technique.in_paper
                        for degree in technique.degrees)]


def parse(technique, degree):
    """A compressed version from its two flags; UsageError for a technique or degree that cannot exist."""
    if technique not in TECHNIQUES:
        raise UsageError(f"--compress_name {technique}: choose one of {', '.join(TECHNIQUES)}")
    return Version(technique, TECHNIQUES[technique].degree(degree))


def parse_any(technique, degree):
    """As `parse`, of a version made elsewhere: what no technique here can have made keeps the name it was given.

    Names become folders and words of commands and tables: UsageError for one that cannot.
    """
    version = Version(technique, degree)
    if entry := _entry(version):
        return Version(technique, entry.degree(degree))
    if not re.fullmatch(NAME, str(version)) or str(version) == str(ORIGINAL):
        raise UsageError(f"a version called {str(version)!r}: choose letters and digits, between them '_', '.', '+' "
                         "and '-', 100 at most, such as int4, onnx-int8 or distilled_half")
    return Version.named(str(version))


def _entry(version):
    """The technique that made a version; None for the original, and for what none of them can have made."""
    technique = TECHNIQUES.get(version.technique)
    try:
        return technique if technique and technique.degree(version.degree) else None
    except UsageError:
        return None


def ordered(versions):
    """Versions in the paper's order, others after those of their technique."""
    known, names = paper_versions(), list(TECHNIQUES)

    def place(version):
        technique = names.index(version.technique) if version.technique in names else len(names)
        return (version != ORIGINAL, technique, known.index(version) if version in known else len(known), str(version))

    return sorted(versions, key=place)


def is_control(version):
    """Whether a version was fine-tuned like a compressed one, but not compressed."""
    technique = _entry(version)
    return technique is not None and technique.is_control(version.degree)


def describe(version):
    """What a version's degree means, in words."""
    if version == ORIGINAL:
        return "none"
    technique = _entry(version)
    return technique.describe(version.degree) if technique else str(version)


def short(version):
    """A version's name in words, narrow."""
    technique = _entry(version)
    return technique.short(version.degree) if technique else str(version)
