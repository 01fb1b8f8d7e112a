"""Small picture folders, and a folder of caches apart from the project's."""
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data import cache, folders, sets

SIZE = 8


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    """The folder of caches, apart from the project's."""
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "datasets")
    return tmp_path / "datasets"


@pytest.fixture
def no_decoding(monkeypatch):
    """Call it, and any decoding after that fails the test."""

    def forbid():
        monkeypatch.setattr(folders, "pixels", lambda *_: pytest.fail("pictures were decoded again"))

    return forbid


@pytest.fixture
def write_pictures():
    """write(folder, names, count, ending, seed, size, **how) → {class: [pixels]}: noisy pictures in class folders."""

    def write(folder, names=("cat", "dog", "ox"), count=3, ending="png", seed=0, size=SIZE, **how):
        rng = np.random.default_rng(seed)
        pixels = {}
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
            pixels[name] = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
            for i, one in enumerate(pixels[name]):
                Image.fromarray(one).save(folder / name / f"{i}.{ending}", **how)
        return pixels

    return write


@pytest.fixture
def load():
    """load(folder, **given) → the Dataset of an imagefolder at 8 × 8 pixels."""
    return lambda folder, **given: sets.load("imagefolder", folder, **{"image_size": SIZE, **given})


@pytest.fixture
def load_copy(load):
    """As `load`; the pictures stay when the cache below them is damaged."""

    def copy(folder, **given):
        data = load(folder, **given)
        return replace(data, images=data.images.copy())

    return copy


@pytest.fixture
def same():
    """same(one, other): whether two Datasets are equal in everything."""
    return lambda one, other: (
        np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)
        and replace(one, images=0, labels=0) == replace(other, images=0, labels=0))
