"""data/sets.py: every entry gives the data it names, the same as ever."""
import re

import numpy as np
import pytest
from PIL import Image

from common.errors import CompLeakError, UsageError
from data import sets, splits

CLASSES = sets.DATASETS["cifar10"].classes
HALF = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

# As the first version of this code gave them: a finished run must know its data and its split again.
KNOWN_DIGITS = {
    8: ("3218799b862dc483", 0.30530871850687963, 0.3758859119653463, "dc7dae1d5a23ef4a"),
    12: ("9d4ea0c86494f45c", 0.30568235548717726, 0.32240982800244705, "c824aa3179184076"),
    16: ("6b7e625953445160", 0.3053087185068797, 0.3186716325407045, "1b312315614ab692"),
    32: ("202ff0eab146f078", 0.3055342100668871, 0.3235022222152072, "70840f95521d7f98"),
}
KNOWN_FOLDERS = {
    8: ("42e15b81fd76a3e0", (0.5020134803921569, 0.4995134803921569, 0.49807720588235294),
        (0.05104569828191907, 0.050625306905601394, 0.0494092698798036), "8ab7be211b3eaaf4"),
    32: ("025a745d5695d5e6", (0.5017161458333333, 0.4995251991421569, 0.49802665441176475),
         (0.2908411083426073, 0.28964722056552017, 0.2898793562371629), "88b60bf130848a94"),
}


@pytest.mark.parametrize("size", KNOWN_DIGITS)
def test_digits_are_what_they_were(size):
    data = sets.load("digits", image_size=size)
    digest, mean, std, split = KNOWN_DIGITS[size]
    assert (data.digest, data.statistics) == (digest, ((mean,) * 3, (std,) * 3))
    assert splits.make_split(len(data.labels), 0, 1, None, data.digest, data.twins).digest == split
    assert data.repeated == 0


@pytest.mark.parametrize("size", KNOWN_FOLDERS)
def test_class_folders_are_what_they_were(tmp_path, size):
    rng = np.random.default_rng(5)
    for part, count in (("train", 3), ("test", 2)):
        for name in CLASSES:
            (tmp_path / "copy" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "copy" / part / name / f"{i:04d}.png")
    digest, mean, std, split = KNOWN_FOLDERS[size]
    for name, statistics in (("cifar10", HALF), ("imagefolder", (mean, std))):
        data = sets.load(name, tmp_path / "copy", image_size=size)
        assert (data.digest, data.statistics) == (digest, statistics)
        assert splits.make_split(50, 3, 2, None, data.digest, data.twins).digest == split


@pytest.mark.parametrize("size", [8, 16])
def test_digits(size):
    data = sets.load("digits", image_size=size)
    assert data.images.shape == (1797, size, size, 3) and data.images.dtype == np.uint8
    assert np.array_equal(np.bincount(data.labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert data.labels.dtype == np.int64 and data.classes == tuple("0123456789") and data.label == "digits"
    if size == 8:
        from sklearn.datasets import load_digits
        assert np.array_equal(data.images[..., 1], np.round(load_digits().images * 255 / 16))


def test_statistics_are_those_of_the_pixels(tmp_path, write_pictures, load):
    write_pictures(tmp_path / "set")
    data = load(tmp_path / "set")
    scaled = data.images.astype(np.float64) / 255
    np.testing.assert_allclose(data.statistics, [scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))], rtol=1e-12)


def test_other_sizes_and_modes_become_rgb_of_the_size_asked_for(tmp_path, write_pictures, load):
    write_pictures(tmp_path / "set", count=1)
    Image.new("L", (20, 12), 200).save(tmp_path / "set" / "cat" / "1.png")
    data = load(tmp_path / "set")
    assert data.images.shape == (4, 8, 8, 3)
    assert (data.images[1] == 200).all()


def test_a_new_label_needs_no_new_folder(tmp_path, write_pictures, load, no_decoding):
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
def test_a_copy_of_cifar10_is_never_called_plain_cifar10(tmp_path, write_pictures, how, label):
    write_pictures(tmp_path / "copy" / "train", CLASSES, count=2, **how)
    write_pictures(tmp_path / "copy" / "test", CLASSES, count=1, seed=1, **how)
    for _ in range(2):  # decoded, then from the cache
        data = sets.load("cifar10", tmp_path / "copy", data_label="CIFAR-10", image_size=8)
        assert data.label == label
        assert data.classes == CLASSES and data.images.shape == (30, 8, 8, 3) and data.statistics == HALF


@pytest.mark.parametrize("name", ["cifar10", "imagefolder"])
@pytest.mark.parametrize("content", [b"not a picture", b""], ids=["garbage", "empty"])
@pytest.mark.parametrize("which", ["airplane/0.png", "truck/1.png"])
def test_a_broken_picture_is_named(tmp_path, datasets, write_pictures, name, content, which):
    write_pictures(tmp_path / "set", CLASSES, count=2)
    (tmp_path / "set" / which).write_bytes(content)
    with pytest.raises(CompLeakError, match=which) as error:
        sets.load(name, tmp_path / "set", image_size=8)
    assert "\n" not in str(error.value)
    assert not list(datasets.glob("*"))


def test_a_truncated_picture_is_named(tmp_path, write_pictures, load):
    write_pictures(tmp_path / "set")
    picture = tmp_path / "set" / "ox" / "2.png"
    picture.write_bytes(picture.read_bytes()[:-60])
    with pytest.raises(CompLeakError, match="ox/2.png: this picture cannot be read"):
        load(tmp_path / "set")


def test_other_classes_are_not_cifar10(tmp_path, write_pictures):
    write_pictures(tmp_path / "set")
    with pytest.raises(CompLeakError, match="cat, dog, ox; CIFAR-10's are airplane.*imagefolder"):
        sets.load("cifar10", tmp_path / "set", image_size=8)


@pytest.mark.parametrize(("given", "says"), [
    (("mnist",), "'mnist': choose one of cifar10, cifar100, digits, imagefolder, tinyimagenet"),
    (("imagefolder",), "imagefolder needs --data_dir"),
    (("tinyimagenet",), "tinyimagenet needs --data_dir"),
    (("imagefolder", "/nowhere/at/all"), "/nowhere/at/all: there is no such folder"),
    (("cifar10", "/nowhere/at/all"), "/nowhere/at/all: there is no such folder"),
    (("digits", None, None, 7), "--image_size 7: choose 8"),
])
def test_usage_errors(given, says):
    with pytest.raises(UsageError, match=says):
        sets.load(*given)


def test_repeated_pictures_are_counted_by_what_is_decoded(tmp_path, write_pictures, load, capsys):
    pixels = write_pictures(tmp_path / "set", ending="png")
    Image.fromarray(pixels["cat"][0]).save(tmp_path / "set" / "ox" / "7.bmp")  # other bytes, other class, same pixels
    Image.fromarray(pixels["cat"][0]).save(tmp_path / "set" / "ox" / "8.tif")
    for name, size in (("8.png", 8), ("9.png", 16)):  # one content only at 8 × 8
        Image.new("RGB", (size, size), "teal").save(tmp_path / "set" / "dog" / name)
    for _ in range(2):  # decoded, then from the cache
        data = load(tmp_path / "set")
        assert data.twins == ((0, 11, 12), (6, 7)) and data.repeated == 3
        lines = capsys.readouterr().out.splitlines()
        assert lines == ["set: 3 of 13 pictures equal an earlier one in every pixel at 8×8; a split keeps them "
                         "together"]


def test_a_set_without_twins_says_nothing(tmp_path, write_pictures, load, capsys):
    write_pictures(tmp_path / "set")
    assert load(tmp_path / "set").twins == ()
    assert capsys.readouterr().out == ""


class Fashion(list):
    """Stands in for torchvision's FashionMNIST: one grey picture of each class a part."""

    def __init__(self, root, train, download):
        super().__init__((Image.new("L", (28, 28), 20 * i + train), i) for i in range(10))
        self.targets = list(range(10))


def test_the_readme_example_of_one_more_set_works(root, monkeypatch, datasets, same):
    text = (root / "data" / "README.md").read_text(encoding="utf-8")
    reader, entry = re.search(r"```python\n(.*?)\n# in DATASETS of data/sets.py\n(.*?),\n```", text, re.S).groups()
    names = {"Source": sets.Source}
    exec(reader, names)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Fashion)
    monkeypatch.setitem(sets.DATASETS, "fashion", eval(entry, names))
    data = sets.load("fashion", image_size=8)
    assert data.label == "Fashion-MNIST" and data.labels.tolist() == list(range(10)) * 2
    assert data.images[:, 3, 3, 0].tolist() == [20 * i + 1 for i in range(10)] + [20 * i for i in range(10)]
    assert same(data, sets.load("fashion", image_size=8)) and len(list(datasets.glob("fashion-8-*"))) == 2
    assert sets.at_hand("fashion") and len(reader.splitlines()) < 20
