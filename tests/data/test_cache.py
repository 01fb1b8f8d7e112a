"""data/cache.py: decoded once, kept whole, made again when pictures or file changed, and moved where need be."""
import json
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from common.errors import CompLeakError
from common.files import read_json, write_json
from data import cache, sets


def the_cache(datasets):
    """(the array's path, its description's path), the only ones there."""
    (array,) = datasets.glob("*.npy")
    (meta,) = datasets.glob("*.json")
    return array, meta


def test_the_second_load_maps_the_cache(tmp_path, write_pictures, load, same, no_decoding):
    write_pictures(tmp_path / "set")
    first = load(tmp_path / "set")
    no_decoding()
    second = load(tmp_path / "set")
    assert same(first, second)
    assert isinstance(second.images.base, np.memmap) or isinstance(second.images, np.memmap)
    assert not second.images.flags.writeable


@pytest.mark.parametrize("change", ["pixels", "touched", "added", "removed", "moved"])
def test_changed_pictures_are_decoded_again(tmp_path, write_pictures, load, same, change):
    folder = tmp_path / "set"
    write_pictures(folder, count=3)
    before = load(folder)
    picture = folder / "cat" / "1.png"
    if change == "removed":
        picture.unlink()
    elif change == "moved":
        picture.rename(folder / "dog" / "7.png")
    else:
        new = np.full((8, 8, 3), 9, np.uint8)
        path = folder / "cat" / "9.png" if change == "added" else picture
        stat = picture.stat()
        Image.fromarray(new).save(path)
        if change == "touched":  # another picture of the same size on disk: the time alone tells
            path.write_bytes(path.read_bytes().ljust(stat.st_size, b"\0"))
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
            assert path.stat().st_size == stat.st_size
    after = load(folder)
    assert after.digest != before.digest
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
    *(without(key) for key in ("format", "source", "fingerprint", "twins", "mean", "kind")),
    lambda array, meta: array.write_bytes(b"no array at all"),
    lambda array, meta: meta.write_text("[]"),
    lambda array, meta: meta.write_bytes(b"\xff\xfe"),
    lambda array, meta: meta.unlink(),
    lambda array, meta: np.save(array, np.zeros(4)),
    lambda array, meta: np.save(array, np.load(array)[:-1]),
], ids=["pixel", "header", "half", "start", "empty", "half meta", "empty meta", "format", "source", "fingerprint",
        "twins", "mean", "kind", "garbage", "list", "not utf-8", "no meta", "other array", "fewer rows"])
def test_a_damaged_cache_is_made_again(tmp_path, datasets, write_pictures, load, load_copy, same, damage):
    write_pictures(tmp_path / "set")
    first = load_copy(tmp_path / "set")
    damage(*the_cache(datasets))
    assert same(first, load(tmp_path / "set"))
    assert same(first, load(tmp_path / "set"))


def test_a_planted_pickle_in_the_cache_does_not_run(tmp_path, datasets, write_pictures, load, load_copy, same, planted):
    write_pictures(tmp_path / "set")
    first = load_copy(tmp_path / "set")
    array, _ = the_cache(datasets)
    np.save(array, np.array([planted(tmp_path / "ran")], dtype=object), allow_pickle=True)
    assert same(first, load(tmp_path / "set"))
    assert not (tmp_path / "ran").exists()


def test_sizes_are_cached_apart(tmp_path, write_pictures, load, same, no_decoding):
    write_pictures(tmp_path / "set", size=12)
    small, large = (load(tmp_path / "set", image_size=size) for size in (8, 12))
    assert small.images.shape[1:] == (8, 8, 3) and large.images.shape[1:] == (12, 12, 3)
    no_decoding()
    assert same(small, load(tmp_path / "set"))


def test_an_older_cache_of_class_folders_is_made_again_without_a_word(tmp_path, datasets, write_pictures, load,
                                                                     load_copy, same, capsys):
    write_pictures(tmp_path / "set")
    first = load_copy(tmp_path / "set")
    _, path = the_cache(datasets)
    write_json(path, {**read_json(path), "format": 1})
    assert same(first, load(tmp_path / "set"))
    assert capsys.readouterr().out == ""


def test_where_nothing_can_be_written_the_run_folder_takes_the_cache(tmp_path, write_pictures, load, same, monkeypatch,
                                                                     no_decoding):
    write_pictures(tmp_path / "set")
    expected = load(tmp_path / "set")
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "set" / "cat" / "0.png" / "no folder")
    with pytest.raises(CompLeakError, match="no folder cannot be written .*--cache_dir") as error:
        load(tmp_path / "set")
    assert "\n" not in str(error.value)
    assert same(expected, load(tmp_path / "set", run_dir=tmp_path / "run"))
    assert list((tmp_path / "run" / "datasets").glob("imagefolder-8-*.npy"))
    no_decoding()
    assert same(expected, load(tmp_path / "set", run_dir=tmp_path / "run"))


def test_a_cache_that_is_there_is_read_from_a_folder_that_cannot_be_written(tmp_path, write_pictures, load, same,
                                                                           monkeypatch, no_decoding):
    write_pictures(tmp_path / "set")
    expected = load(tmp_path / "set")
    monkeypatch.setattr(cache, "writable", lambda folders: pytest.fail("a folder was asked for"))
    no_decoding()
    assert same(expected, load(tmp_path / "set", run_dir=tmp_path / "run"))


def test_a_folder_can_be_named_for_the_cache(tmp_path, datasets, write_pictures, load):
    write_pictures(tmp_path / "set")
    load(tmp_path / "set", cache_dir=tmp_path / "elsewhere", run_dir=tmp_path / "run")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2
    assert not datasets.exists() and not (tmp_path / "run").exists()


def test_a_full_disk_is_no_reason_to_fill_another(tmp_path, monkeypatch):
    def full(dir):
        raise OSError(28, "No space left on device", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        cache.writable([tmp_path, tmp_path / "other"])


def test_decoding_and_counting_take_little_memory(tmp_path, datasets):
    pictures = 6_000
    image = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3)
    found = cache.Found(tmp_path, "a stamp", ("a", "b"), lambda size: (
        ((image * i % 251).astype(np.uint8) for i in range(pictures)), np.arange(pictures) % 2))
    tracemalloc.start()
    images, labels, facts = cache.read(found, "made up", 32, [datasets])
    # The pictures alone are 18 MB; the first version took 74 MB, and ten times as much for ten times the pictures.
    assert tracemalloc.get_traced_memory()[1] < 32e6
    tracemalloc.stop()
    assert len(images) == pictures and facts.kind is None and labels[-1] == 1
    assert facts == cache.facts_of(images, labels) and facts.digest == cache.digest_of(images, labels)


def test_a_copy_read_again_opens_no_picture(tmp_path, write_pictures, monkeypatch):
    write_pictures(tmp_path / "copy", sets.DATASETS["cifar10"].classes, ending="jpg", quality=60)
    before = sets.load("cifar10", tmp_path / "copy", image_size=8)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    assert sets.load("cifar10", tmp_path / "copy", image_size=8).label == before.label == "CIFAR-10 (JPEG q60)"


def test_the_digest_names_pictures_and_labels():
    pictures, labels = np.zeros((5000, 2, 2, 3), np.uint8), np.zeros(5000, np.int64)
    names = {cache.digest_of(pictures, labels)}
    for row in (0, 4999):
        other = pictures.copy()
        other[row, 1, 1, 2] = 1
        names.add(cache.digest_of(other, labels))
        moved = labels.copy()
        moved[row] = 1
        names.add(cache.digest_of(pictures, moved))
    assert len(names) == 5 and all(len(name) == 16 for name in names)


@pytest.mark.parametrize("value", [51, 246, 0, 255])
def test_a_flat_channel_has_a_deviation_to_divide_by(value):
    images = np.full((120, 4, 4, 3), value, np.uint8)
    images[0, 0, 0, 0] = 9
    facts = cache.facts_of(images, np.zeros(120))
    assert facts.std[1:] == (1.0, 1.0) and 0 < facts.std[0] < 1
    assert facts.mean[1] == pytest.approx(value / 255)
