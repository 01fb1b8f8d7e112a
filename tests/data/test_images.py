"""data/images.py: what is decoded, what is cached, and what is refused."""
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from common.errors import CompLeakError, UsageError
from data import images

SIZE = 8


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    """The folder of caches, apart from the project's."""
    monkeypatch.setattr(images, "DATASETS", tmp_path / "datasets")
    return tmp_path / "datasets"


@pytest.fixture
def no_decoding(monkeypatch):
    """Call it, and any decoding after that fails the test."""

    def forbid():
        monkeypatch.setattr(images, "_decode", lambda *_: pytest.fail("pictures were decoded again"))

    return forbid


def write_pictures(folder, names=("cat", "dog", "ox"), count=3, ending="png", seed=0, size=SIZE, **how):
    """Noisy pictures in class folders → {class: [pixels]}."""
    rng = np.random.default_rng(seed)
    pixels = {}
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels[name] = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        for i, one in enumerate(pixels[name]):
            Image.fromarray(one).save(folder / name / f"{i}.{ending}", **how)
    return pixels


def load(folder, **given):
    return images.load("imagefolder", folder, image_size=SIZE, **given)


def load_copy(folder):
    """A Dataset whose pictures stay when the cache below them is damaged."""
    data = load(folder)
    return replace(data, images=data.images.copy())


def the_cache(datasets):
    """(the array's path, its description's path), the only ones there."""
    (array,) = datasets.glob("*.npy")
    (meta,) = datasets.glob("*.json")
    return array, meta


def same(one, other):
    return (np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)
            and (one.label, one.classes, one.fingerprint, one.statistics)
            == (other.label, other.classes, other.fingerprint, other.statistics))


@pytest.mark.parametrize("size", [8, 16])
def test_digits(size):
    data = images.load("digits", image_size=size)
    assert data.images.shape == (1797, size, size, 3) and data.images.dtype == np.uint8
    assert np.array_equal(np.bincount(data.labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert data.labels.dtype == np.int64 and data.classes == tuple("0123456789") and data.label == "digits"
    if size == 8:
        from sklearn.datasets import load_digits
        assert np.array_equal(data.images[..., 1], np.round(load_digits().images * 255 / 16))


def test_statistics_are_those_of_the_pixels(tmp_path):
    write_pictures(tmp_path / "set")
    data = load(tmp_path / "set")
    scaled = data.images.astype(np.float64) / 255
    np.testing.assert_allclose(data.statistics, [scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))], rtol=1e-12)


def test_a_flat_channel_has_a_deviation_to_divide_by():
    mean, std = images.channel_statistics(np.full((2, 4, 4, 3), 51, np.uint8))
    assert mean == pytest.approx((0.2, 0.2, 0.2)) and std == (1.0, 1.0, 1.0)


def test_class_folders_are_pooled_over_their_parts(tmp_path):
    train = write_pictures(tmp_path / "set" / "train", ("dog", "cat"), 3, seed=1)
    test = write_pictures(tmp_path / "set" / "test", ("cat", "dog", "ox"), 2, seed=2)
    data = load(tmp_path / "set")
    assert data.classes == ("cat", "dog", "ox") and data.label == "set"
    expected = [train["cat"], train["dog"], test["cat"], test["dog"], test["ox"]]
    assert np.array_equal(data.images, np.concatenate(expected))
    assert data.labels.tolist() == [0] * 3 + [1] * 3 + [0] * 2 + [1] * 2 + [2] * 2


def test_other_sizes_and_modes_become_rgb_of_the_size_asked_for(tmp_path):
    write_pictures(tmp_path / "set", count=1)
    Image.new("L", (20, 12), 200).save(tmp_path / "set" / "cat" / "1.png")
    data = load(tmp_path / "set")
    assert data.images.shape == (4, SIZE, SIZE, 3)
    assert (data.images[1] == 200).all()


def test_the_second_load_maps_the_cache(tmp_path, datasets, no_decoding):
    write_pictures(tmp_path / "set")
    first = load(tmp_path / "set")
    no_decoding()
    second = load(tmp_path / "set")
    assert same(first, second)
    assert isinstance(second.images.base, np.memmap) or isinstance(second.images, np.memmap)
    assert not second.images.flags.writeable


@pytest.mark.parametrize("change", ["pixels", "touched", "added", "removed", "moved"])
def test_changed_pictures_are_decoded_again(tmp_path, change):
    folder = tmp_path / "set"
    write_pictures(folder, count=3)
    before = load(folder)
    picture = folder / "cat" / "1.png"
    if change == "removed":
        picture.unlink()
    elif change == "moved":
        picture.rename(folder / "dog" / "7.png")
    else:
        new = np.full((SIZE, SIZE, 3), 9, np.uint8)
        path = folder / "cat" / "9.png" if change == "added" else picture
        stat = picture.stat()
        Image.fromarray(new).save(path)
        if change == "touched":  # another picture of the same size on disk: the time alone tells
            path.write_bytes(path.read_bytes().ljust(stat.st_size, b"\0"))
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
            assert path.stat().st_size == stat.st_size
    after = load(folder)
    assert after.fingerprint != before.fingerprint
    assert len(after.labels) == len(before.labels) + {"added": 1, "removed": -1}.get(change, 0)
    assert same(after, load(folder))


def damage_pixel(array, meta):
    raw = bytearray(array.read_bytes())
    raw[-20] ^= 1
    array.write_bytes(raw)


def flip_in_header(array, meta):
    raw = bytearray(array.read_bytes())
    raw[raw.index(b"}")] ^= 4
    array.write_bytes(raw)


def without(key):
    def damage(array, meta):
        values = json.loads(meta.read_text())
        del values[key]
        meta.write_text(json.dumps(values))
    return damage


def truncate(nth, keep):
    def damage(*paths):
        raw = paths[nth].read_bytes()
        paths[nth].write_bytes(raw[: int(len(raw) * keep)])
    return damage


@pytest.mark.parametrize("damage", [
    damage_pixel, flip_in_header, truncate(0, 0.5), truncate(0, 0.01), truncate(0, 0), truncate(1, 0.5), truncate(1, 0),
    *(without(key) for key in ("format", "source", "classes", "fingerprint", "checksum")),
    lambda array, meta: array.write_bytes(b"no array at all"),
    lambda array, meta: meta.write_text("[]"),
    lambda array, meta: meta.write_bytes(b"\xff\xfe"),
    lambda array, meta: meta.unlink(),
    lambda array, meta: np.save(array, np.zeros(4)),
    lambda array, meta: np.save(array, np.load(array)[:-1]),
], ids=["pixel", "header", "half", "start", "empty", "half meta", "empty meta", "format", "source", "classes",
        "fingerprint", "checksum", "garbage", "list", "not utf-8", "no meta", "other array", "fewer rows"])
def test_a_damaged_cache_is_made_again(tmp_path, datasets, damage):
    write_pictures(tmp_path / "set")
    first = load_copy(tmp_path / "set")
    damage(*the_cache(datasets))
    assert same(first, load(tmp_path / "set"))
    assert same(first, load(tmp_path / "set"))


def test_a_planted_pickle_in_the_cache_does_not_run(tmp_path, datasets):
    write_pictures(tmp_path / "set")
    first = load_copy(tmp_path / "set")
    array, _ = the_cache(datasets)
    np.save(array, np.array([Planted(tmp_path / "ran")], dtype=object), allow_pickle=True)
    assert same(first, load(tmp_path / "set"))
    assert not (tmp_path / "ran").exists()


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_sizes_are_cached_apart(tmp_path, no_decoding):
    write_pictures(tmp_path / "set", size=12)
    small, large = (images.load("imagefolder", tmp_path / "set", image_size=size) for size in (8, 12))
    assert small.images.shape[1:] == (8, 8, 3) and large.images.shape[1:] == (12, 12, 3)
    no_decoding()
    assert same(small, images.load("imagefolder", tmp_path / "set", image_size=8))


def test_a_new_label_needs_no_new_folder(tmp_path, no_decoding):
    write_pictures(tmp_path / "set")
    assert load(tmp_path / "set", data_label="flowers").label == "flowers"
    no_decoding()
    assert load(tmp_path / "set", data_label="pets").label == "pets"
    assert load(tmp_path / "set").label == "set"


@pytest.mark.parametrize(("how", "label"), [
    ({"ending": "jpg", "quality": 75}, "CIFAR-10 (JPEG q75)"),
    ({"ending": "jpeg", "quality": 95}, "CIFAR-10 (JPEG q95)"),
    ({"ending": "jpg", "quality": 30, "subsampling": 0}, "CIFAR-10 (JPEG q30)"),
    ({"ending": "jpg", "qtables": [list(range(1, 65))] * 2}, "CIFAR-10 (JPEG copy)"),
    ({"ending": "png"}, "CIFAR-10 (PNG copy)"),
    ({"ending": "bmp"}, "CIFAR-10 (BMP copy)"),
])
def test_a_copy_of_cifar10_is_never_called_plain_cifar10(tmp_path, how, label):
    write_pictures(tmp_path / "copy" / "train", images.CIFAR10_CLASSES, count=2, **how)
    write_pictures(tmp_path / "copy" / "test", images.CIFAR10_CLASSES, count=1, **how)
    for _ in range(2):  # decoded, then from the cache
        data = images.load("cifar10", tmp_path / "copy", data_label="CIFAR-10", image_size=SIZE)
        assert data.label == label
        assert data.classes == images.CIFAR10_CLASSES and data.images.shape == (30, SIZE, SIZE, 3)
        assert data.statistics == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


@pytest.mark.parametrize("name", ["cifar10", "imagefolder"])
@pytest.mark.parametrize("content", [b"not a picture", b""], ids=["garbage", "empty"])
@pytest.mark.parametrize("which", ["airplane/0.png", "truck/1.png"])
def test_a_broken_picture_is_named(tmp_path, datasets, name, content, which):
    write_pictures(tmp_path / "set", images.CIFAR10_CLASSES, count=2)
    (tmp_path / "set" / which).write_bytes(content)
    with pytest.raises(CompLeakError, match=which) as error:
        images.load(name, tmp_path / "set", image_size=SIZE)
    assert "\n" not in str(error.value)
    assert not list(datasets.glob("*"))


def test_a_truncated_picture_is_named(tmp_path):
    write_pictures(tmp_path / "set")
    picture = tmp_path / "set" / "ox" / "2.png"
    picture.write_bytes(picture.read_bytes()[:-60])
    with pytest.raises(CompLeakError, match="ox/2.png: this picture cannot be read"):
        load(tmp_path / "set")


@pytest.mark.parametrize(("names", "says"), [((), "found 0 class folder"), (("cat",), "found 1 class folder")])
def test_folders_without_two_classes_are_refused(tmp_path, names, says):
    (tmp_path / "set").mkdir()
    write_pictures(tmp_path / "set", names)
    with pytest.raises(CompLeakError, match=says):
        load(tmp_path / "set")


def test_a_class_without_pictures_is_named(tmp_path):
    write_pictures(tmp_path / "set")
    (tmp_path / "set" / "emu").mkdir()
    (tmp_path / "set" / "emu" / "notes.txt").write_text("none yet")
    with pytest.raises(CompLeakError, match="no pictures in class 'emu'.*png"):
        load(tmp_path / "set")


def test_other_classes_are_not_cifar10(tmp_path):
    write_pictures(tmp_path / "set")
    with pytest.raises(CompLeakError, match="cat, dog, ox; CIFAR-10's are airplane.*imagefolder"):
        images.load("cifar10", tmp_path / "set", image_size=SIZE)


@pytest.mark.parametrize(("given", "says"), [
    (("mnist",), "'mnist': choose one of cifar10, digits, imagefolder"),
    (("imagefolder",), "imagefolder needs --data_dir"),
    (("imagefolder", "/nowhere/at/all"), "/nowhere/at/all: there is no such folder"),
    (("cifar10", "/nowhere/at/all"), "/nowhere/at/all: there is no such folder"),
    (("digits", None, None, 7), "--image_size 7: choose 8"),
])
def test_usage_errors(given, says):
    with pytest.raises(UsageError, match=says):
        images.load(*given)


class Official:
    """Stands in for torchvision's CIFAR10: 6 + 4 pictures, whose red channel counts them."""

    asked = []

    def __init__(self, root, train, download):
        self.asked.append((root, train, download))
        count, first = (6, 0) if train else (4, 6)
        self.data = np.full((count, 32, 32, 3), 7, np.uint8)
        self.data[..., 0] = np.arange(first, first + count)[:, None, None]
        self.targets = [i % 10 for i in range(first, first + count)]


@pytest.mark.parametrize("size", [8, 32])
def test_official_cifar10_pools_both_parts_and_is_cached(monkeypatch, datasets, size):
    monkeypatch.setattr("torchvision.datasets.CIFAR10", Official)
    Official.asked.clear()
    first = images.load("cifar10", image_size=size)
    assert first.label == "CIFAR-10" and first.images.shape == (10, size, size, 3)
    assert first.images[:, 2, 3, 0].tolist() == first.labels.tolist() == list(range(10))
    assert same(first, images.load("cifar10", image_size=size))
    assert Official.asked == [(datasets, True, True), (datasets, False, True)]


def test_official_files_are_read_where_they_lie(monkeypatch, tmp_path):
    monkeypatch.setattr("torchvision.datasets.CIFAR10", Official)
    Official.asked.clear()
    (tmp_path / "mine" / "cifar-10-batches-py").mkdir(parents=True)
    assert images.load("cifar10", tmp_path / "mine").label == "CIFAR-10"
    assert {root for root, *_ in Official.asked} == {tmp_path / "mine"}


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("File not found or corrupted")])
def test_a_failed_download_says_where_to_put_the_file(monkeypatch, datasets, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr("torchvision.datasets.CIFAR10", refuse)
    with pytest.raises(CompLeakError) as raised:
        images.load("cifar10")
    said = str(raised.value)
    assert str(error) in said and f"cifar-10-python.tar.gz into {datasets}" in said and "--data_dir" in said


def test_the_fingerprint_names_pictures_and_labels():
    pictures, labels = np.zeros((5000, 2, 2, 3), np.uint8), np.zeros(5000, np.int64)
    names = {images.fingerprint(pictures, labels)}
    for row in (0, 4999):
        other = pictures.copy()
        other[row, 1, 1, 2] = 1
        names.add(images.fingerprint(other, labels))
        moved = labels.copy()
        moved[row] = 1
        names.add(images.fingerprint(pictures, moved))
    assert len(names) == 5 and all(len(name) == 16 for name in names)
