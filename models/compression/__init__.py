"""The compression techniques, one entry each, and what follows from them: names, order and words of versions."""
import re

from common.errors import UsageError
from common.paths import ORIGINAL, Version
from models.compression.clustering import CLUSTERING
from models.compression.int8 import QUANTIZATION
from models.compression.onnx_int8 import ONNX_INT8
from models.compression.pruning import PRUNING

NAME = r"[^\W_](?:[^\W_]|[.+-]){0,99}(?:_[^\W_](?:[^\W_]|[.+-]){0,99})?"  # [^\W_]: letters and digits of any script
TECHNIQUES = {technique.name: technique for technique in (PRUNING, QUANTIZATION, CLUSTERING, ONNX_INT8)}


def paper_versions():
    """The versions of a whole run: the original, and each of the paper's techniques at each degree."""
    return [ORIGINAL, *(Version(name, degree) for name, technique in TECHNIQUES.items() if technique.in_paper
                        for degree in technique.degrees)]


def parse(technique, degree, flag="--compress_degree"):
    """A compressed version from its two flags; UsageError for a technique or degree that cannot exist."""
    if technique not in TECHNIQUES:
        raise UsageError(f"--compress_name {technique}: choose one of {', '.join(TECHNIQUES)}")
    return Version(technique, TECHNIQUES[technique].degree(degree, flag))


def parse_any(technique, degree, flag="--compress_name"):
    """As `parse`, but a technique that is not known may have any name and any degree, or none ("").

    For models made elsewhere. Names become folders and words of commands and tables: UsageError for one that cannot.
    """
    if technique in TECHNIQUES:
        return Version(technique, TECHNIQUES[technique].degree(degree, flag))
    version = Version(technique, degree)
    if not re.fullmatch(NAME, str(version)) or technique == str(ORIGINAL):
        raise UsageError(f"{flag} {str(version)!r}: name a technique, or technique_degree with one underscore, in "
                         "letters, digits, '.', '+' and '-', such as int4, onnx-int8 or distilled_half")
    return version


def ordered(versions):
    """Versions in the paper's order, others after those of their technique."""
    known, names = paper_versions(), list(TECHNIQUES)

    def place(version):
        technique = names.index(version.technique) if version.technique in names else len(names)
        return (version != ORIGINAL, technique, known.index(version) if version in known else len(known), str(version))

    return sorted(versions, key=place)


def is_control(version):
    """Whether a version was fine-tuned like a compressed one, but not compressed."""
    technique = TECHNIQUES.get(version.technique)
    return technique is not None and technique.is_control(version.degree)


def describe(version):
    """What a version's degree means, in words."""
    if version == ORIGINAL:
        return "none"
    technique = TECHNIQUES.get(version.technique)
    return technique.describe(version.degree) if technique else str(version)


def short(version):
    """A version's name in words, narrow."""
    technique = TECHNIQUES.get(version.technique)
    return technique.short(version.degree) if technique else str(version)
