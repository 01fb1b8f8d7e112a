"""benchmarks/sizes.py: the files of versions are as small as their bits say."""
from benchmarks.sizes import megabytes
from common.paths import ORIGINAL, Version


def test_sizes_follow_the_bits_a_weight():
    original, int8, pruned = (megabytes("vgg16", version, width=1 / 4) for version in (
        ORIGINAL, Version("quantization", "int8"), Version("pruning", "0.9")))
    assert 3.5 < original / int8 < 4 and 6.5 < original / pruned < 32 / 4.2
