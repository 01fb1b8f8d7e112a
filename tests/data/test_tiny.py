"""data/tiny.py: Tiny-ImageNet's official folders and copies of it."""
import numpy as np
import pytest
from PIL import Image

from common.errors import CompLeakError
from data import sets

WNIDS = tuple(f"n{1_000_000 + 37 * i:08d}" for i in range(200))
ANNOTATIONS = "val/val_annotations.txt"


def save(path, value, size=64):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (value, value // 2, 255 - value)).save(path, "JPEG")


@pytest.fixture
def published(tmp_path):
    """The official layout, one training and one validation picture a class; validation files in reverse of classes."""
    root = tmp_path / "tiny-imagenet-200"
    lines = []
    for i, name in enumerate(WNIDS):
        save(root / "train" / name / "images" / f"{name}_0.JPEG", i)
        (root / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t63\t63\n")
        save(root / "val" / "images" / f"val_{i}.JPEG", 199 - i)
        lines.append(f"val_{i}.JPEG\t{WNIDS[199 - i]}\t0\t32\t44\t62\n")
    (root / ANNOTATIONS).write_text("".join(lines))
    save(root / "test" / "images" / "test_0.JPEG", 9)
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    return root


def test_the_official_layout_is_read(published, same, no_decoding, capsys):
    data = sets.load("tinyimagenet", published, image_size=16)
    assert data.label == "Tiny-ImageNet (64×64 JPEG)" and data.classes == WNIDS
    assert data.images.shape == (400, 16, 16, 3)
    assert data.labels.tolist() == [*range(200), *range(199, -1, -1)]
    assert np.abs(data.images[:, 8, 8, 0].astype(int) - data.labels).max() <= 3  # each picture shows its class
    np.testing.assert_allclose(data.statistics[0], (data.images / 255).mean((0, 1, 2)), rtol=1e-12)
    lines = capsys.readouterr().out.splitlines()
    assert f"{published}: left out 1 test pictures, which have no labels (test/images/test_0.JPEG)" in lines
    no_decoding()
    assert same(data, sets.load("tinyimagenet", published, image_size=16))


@pytest.mark.parametrize("size", [8, 64, 72])
def test_any_square_size_is_given(published, size):
    assert sets.load("tinyimagenet", published, image_size=size).images.shape == (400, size, size, 3)


def test_a_copy_as_class_folders_says_its_size(tmp_path):
    for i, name in enumerate(WNIDS):
        save(tmp_path / "copy" / "train" / name / "a.JPEG", i, size=32)
        save(tmp_path / "copy" / "test" / name / "b.JPEG", i, size=32)
    data = sets.load("tinyimagenet", tmp_path / "copy")
    assert data.label == "Tiny-ImageNet (32×32 JPEG)" and data.classes == WNIDS
    assert data.labels.tolist() == [*range(200)] * 2


def test_other_pictures_are_not_tinyimagenet(tmp_path, write_pictures):
    write_pictures(tmp_path / "set")
    with pytest.raises(CompLeakError, match="found 3 classes, Tiny-ImageNet has 200 .*imagefolder"):
        sets.load("tinyimagenet", tmp_path / "set", image_size=8)


@pytest.mark.parametrize(("line", "says"), [
    ("val_0.JPEG\tn99999999\t0", "names a class that is not there"),
    ("val_777.JPEG\tn01000000\t0", "names a picture that is not there"),
    ("../../secret.JPEG\tn01000000\t0", "names a picture that is not there"),
    ("val_1.JPEG\tn01000000\t0", "names a picture that is not there, or once more"),
    ("nothing", "names a picture"),
])
def test_a_wrong_annotation_is_named(published, line, says):
    lines = (published / ANNOTATIONS).read_text().splitlines()
    (published / ANNOTATIONS).write_text("\n".join([line, *lines[1:]]))
    with pytest.raises(CompLeakError, match=says) as error:
        sets.load("tinyimagenet", published, image_size=8)
    assert ANNOTATIONS in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["missing", "not text"])
def test_missing_annotations_are_named(published, content):
    (published / ANNOTATIONS).unlink()
    if content:
        (published / ANNOTATIONS).write_bytes(content)
    with pytest.raises(CompLeakError, match="val_annotations.txt: this file cannot be read"):
        sets.load("tinyimagenet", published, image_size=8)


def test_pictures_without_a_class_are_said(published, capsys):
    lines = (published / ANNOTATIONS).read_text().splitlines()
    (published / ANNOTATIONS).write_text("\n".join(lines[2:]))
    assert len(sets.load("tinyimagenet", published, image_size=8).labels) == 398
    assert "2 validation pictures without a class (val/images/val_0.JPEG, val/images/val_1.JPEG)" in \
        capsys.readouterr().out
