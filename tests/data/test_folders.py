"""data/folders.py: which pictures of a folder are read, in which order, and what is said of the others."""
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from common.errors import CompLeakError
from data import folders

SIZE = 8


def picture(path, value=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((SIZE, SIZE, 3), value, np.uint8)).save(path, "PNG")


def said(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if "left out" in line]


def test_class_folders_are_pooled_over_their_parts(tmp_path, write_pictures, load):
    train = write_pictures(tmp_path / "set" / "train", ("dog", "cat"), 3, seed=1)
    test = write_pictures(tmp_path / "set" / "test", ("cat", "dog", "ox"), 2, seed=2)
    data = load(tmp_path / "set")
    assert data.classes == ("cat", "dog", "ox") and data.label == "set"
    expected = [train["cat"], train["dog"], test["cat"], test["dog"], test["ox"]]
    assert np.array_equal(data.images, np.concatenate(expected))
    assert data.labels.tolist() == [0] * 3 + [1] * 3 + [0] * 2 + [1] * 2 + [2] * 2


@pytest.mark.parametrize(("train", "part"), [("train", "val"), ("train", "valid"), ("train", "validation"),
                                             ("train", "test"), ("Train", "TEST"), ("TRAIN", "Validation")])
def test_every_part_beside_train_is_read(tmp_path, write_pictures, load, capsys, train, part):
    write_pictures(tmp_path / "set" / train, count=2, seed=1)
    write_pictures(tmp_path / "set" / part, count=1, seed=2)
    assert len(load(tmp_path / "set").labels) == 9
    assert said(capsys) == []


def test_a_class_may_be_called_like_a_part(tmp_path, write_pictures, load):
    write_pictures(tmp_path / "set", ("train", "plane", "test"), count=2)
    data = load(tmp_path / "set")
    assert data.classes == ("plane", "test", "train") and len(data.labels) == 6


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "jfif", "png", "bmp", "webp", "ppm", "pgm", "tif", "tiff", "gif"])
def test_every_ending_is_read(tmp_path, write_pictures, load, capsys, ending):
    write_pictures(tmp_path / "set", count=1)
    kind = {"jfif": "JPEG", "JPEG": "JPEG", "jpg": "JPEG", "tif": "TIFF", "tiff": "TIFF", "pgm": "PPM"}
    Image.new("L", (SIZE, SIZE), 200).save(tmp_path / "set" / "cat" / f"1.{ending}", kind.get(ending, ending.upper()))
    data = load(tmp_path / "set")
    assert (data.images[1] == 200).all() and len(data.labels) == 4
    assert said(capsys) == []


@pytest.mark.parametrize("name", [".thumbnails/a.png", ".git/HEAD", ".ipynb_checkpoints/a.png", "cat/._0.png",
                                  "__MACOSX/cat/a.png", "@eaDir/a.png", "cat/@eaDir/a.png", "cat/Thumbs.db",
                                  "#snapshot/a.png", "cat/@Recycle/a.png", "cat/Icon\r",
                                  "cat/ehthumbs.db", "cat/.DS_Store", "cat/desktop.ini", "cat/.more/a.png",
                                  "__pycache__/a.pyc"])
@pytest.mark.parametrize("part", ["", "train"])
def test_system_files_are_no_ones_pictures(tmp_path, write_pictures, load, same, capsys, part, name):
    write_pictures(tmp_path / "set" / part)
    expected = load(tmp_path / "set")
    for path in {tmp_path / "set" / part / name, *([] if name.startswith("cat") else [tmp_path / "set" / name])}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\x16\7 no picture")
    assert same(load(tmp_path / "set"), expected)
    assert said(capsys) == []


def test_one_line_says_what_was_left_out_and_why(tmp_path, write_pictures, load, capsys):
    root = tmp_path / "set"
    write_pictures(root / "train", count=1)
    (root / "train" / "cat" / "photo.heic").write_bytes(b"?")
    (root / "train" / "dog" / "list.txt").write_text("?")
    for name in ("train/ox/more/a.png", "train/ox/more/deep/b.png", "birds/a.png", "birds/b.png", "c.png",
                 "train/d.png", "birds/.thumbnails/c.png", "train/ox/more/@eaDir/c.png"):
        picture(root / name)
    (root / "LICENSE").write_text("not a picture, and none was expected here")
    data = load(root)
    assert len(data.labels) == 3
    (line,) = said(capsys)
    assert line == (f"{root}: left out 2 pictures beside train/ (birds/a.png, birds/b.png); 2 pictures outside class "
                    "folders (c.png, train/d.png); 2 files with other endings (train/cat/photo.heic, "
                    "train/dog/list.txt); 2 pictures in folders below a class (train/ox/more/a.png, "
                    "train/ox/more/deep/b.png)")


def test_many_are_counted_and_three_named(tmp_path, write_pictures, load, capsys):
    write_pictures(tmp_path / "set", count=1)
    for i in range(1_200):
        (tmp_path / "set" / "cat" / f"{i:04d}.avif").touch()
    load(tmp_path / "set")
    (line,) = said(capsys)
    assert line.endswith("1,200 files with other endings (cat/0000.avif, cat/0001.avif, cat/0002.avif, …)")


def test_both_unicode_forms_of_a_name_are_one_class(tmp_path, write_pictures, load):
    composed, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    assert composed != apart
    write_pictures(tmp_path / "set" / "train", (composed, "tea"), 2)
    write_pictures(tmp_path / "set" / "test", (apart, "tea"), 1, seed=1)
    data = load(tmp_path / "set")
    assert data.classes == (composed, "tea") and data.labels.tolist() == [0, 0, 1, 1, 0, 1]


def test_names_that_are_not_utf8_are_read_and_shown_escaped(tmp_path, write_pictures, load, same, capsys):
    write_pictures(tmp_path / "set", ("ox",), 1)
    raw = os.fsencode(tmp_path / "set") + b"/caf\xe9"
    os.mkdir(raw)
    picture(tmp_path / "one.png")
    os.rename(tmp_path / "one.png", raw + b"/\xff\n.png")
    os.rename(tmp_path / "set", os.fsencode(tmp_path) + b"/s\xe9t")
    root = os.fsdecode(os.fsencode(tmp_path) + b"/s\xe9t")
    data = load(root)
    assert data.classes == ("caf\\xe9", "ox") and data.label == "s\\xe9t" and (data.images[0] == 7).all()
    assert same(data, load(root))
    with open(os.fsencode(root) + b"/caf\xe9/\xff\n.png", "wb") as file:
        file.write(b"no picture")
    with pytest.raises(CompLeakError) as error:
        load(root)
    assert "s\\xe9t/caf\\xe9/\\xff\\n.png: this picture cannot be read" in str(error.value)
    str(error.value).encode("utf-8")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", ["nowhere.png", "1.png"], ids=["broken", "to itself"])
def test_a_link_that_leads_nowhere_is_named(tmp_path, write_pictures, load, target):
    write_pictures(tmp_path / "set", count=1)
    (tmp_path / "set" / "dog" / "1.png").symlink_to(target)
    with pytest.raises(CompLeakError, match="dog/1.png: this picture cannot be found .*broken link.*mend or remove it"):
        load(tmp_path / "set")


def test_a_pipe_is_not_waited_for(tmp_path, write_pictures, load):
    write_pictures(tmp_path / "set", count=1)
    os.mkfifo(tmp_path / "set" / "dog" / "1.png")
    with pytest.raises(CompLeakError, match="dog/1.png: this is no file"):
        load(tmp_path / "set")


def test_links_to_pictures_and_folders_are_followed(tmp_path, write_pictures, load, same):
    write_pictures(tmp_path / "set")
    (tmp_path / "links" / "dog").mkdir(parents=True)
    (tmp_path / "links" / "cat").symlink_to(tmp_path / "set" / "cat")
    (tmp_path / "links" / "ox").symlink_to(tmp_path / "set" / "ox")
    for i in range(3):
        (tmp_path / "links" / "dog" / f"{i}.png").symlink_to(tmp_path / "set" / "dog" / f"{i}.png")
    assert same(load(tmp_path / "set", data_label="x"), load(tmp_path / "links", data_label="x"))


@pytest.mark.parametrize(("names", "says"), [((), "found 0 class folder"), (("cat",), "found 1 class folder")])
def test_folders_without_two_classes_are_refused(tmp_path, write_pictures, load, names, says):
    (tmp_path / "set").mkdir()
    write_pictures(tmp_path / "set", names)
    with pytest.raises(CompLeakError, match=says):
        load(tmp_path / "set")


def test_a_class_without_pictures_is_named(tmp_path, write_pictures, load):
    write_pictures(tmp_path / "set")
    (tmp_path / "set" / "emu").mkdir()
    (tmp_path / "set" / "emu" / "notes.txt").write_text("none yet")
    with pytest.raises(CompLeakError, match="no pictures in class 'emu'.*png"):
        load(tmp_path / "set")


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(CompLeakError, match="gone: this folder cannot be read .No such file"):
        folders.list_pictures(tmp_path / "gone")
