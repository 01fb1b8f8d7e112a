"""data/official.py: the official files of both CIFAR sets, where they lie, and what is said when they are damaged."""
import hashlib
import pickle

import numpy as np
import pytest
import torchvision

from common.errors import CompLeakError
from data import sets
from data.official import CIFAR100_CLASSES
from data.splits import make_split

FILES = {"cifar10": ("CIFAR10", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
         "cifar100": ("CIFAR100", "cifar-100-python", "cifar-100-python.tar.gz")}


class Official:
    """Stands in for torchvision's classes: 6 + 4 pictures, whose red channel counts them."""

    asked, train_list, test_list = [], [], []

    def __init__(self, root, train, download):
        self.asked.append((root, train, download))
        count, first = (6, 0) if train else (4, 6)
        self.data = np.full((count, 32, 32, 3), 7, np.uint8)
        self.data[..., 0] = np.arange(first, first + count)[:, None, None]
        self.targets = [i % 10 for i in range(first, first + count)]


@pytest.fixture
def official(monkeypatch):
    for name, *_ in FILES.values():
        monkeypatch.setattr(torchvision.datasets, name, Official)
    Official.asked.clear()
    return Official


@pytest.fixture
def published(monkeypatch):
    """publish(name, folder) writes batches of 4 + 2 pictures in the official layout, and makes theirs the right MD5."""

    def publish(name, folder):
        kind = getattr(torchvision.datasets, FILES[name][0])
        folder = folder / kind.base_folder
        folder.mkdir(parents=True)
        rng, lists = np.random.default_rng(0), {}
        for key, files in (("train_list", kind.train_list[:1]), ("test_list", kind.test_list)):
            count = 4 if key == "train_list" else 2
            labels = "labels" if name == "cifar10" else "fine_labels"
            batch = {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8), labels: list(range(count))}
            (folder / files[0][0]).write_bytes(pickle.dumps(batch))
            lists[key] = [[files[0][0], md5(folder / files[0][0])]]
        (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: []}))
        lists["meta"] = {**kind.meta, "md5": md5(folder / kind.meta["filename"])}
        for key, value in lists.items():
            monkeypatch.setattr(kind, key, value)
        return folder

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return publish


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def refuse(*args, **kwargs):
    raise OSError("no network")


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize(("name", "label"), [("cifar10", "CIFAR-10"), ("cifar100", "CIFAR-100")])
def test_both_parts_are_pooled_and_cached(official, datasets, same, name, label, size):
    first = sets.load(name, image_size=size)
    assert first.label == label and first.images.shape == (10, size, size, 3)
    assert first.images[:, 2, 3, 0].tolist() == first.labels.tolist() == list(range(10))
    assert same(first, sets.load(name, image_size=size))
    assert official.asked == [(datasets, True, True), (datasets, False, True)]


@pytest.mark.parametrize("name", FILES)
def test_official_files_are_read_where_they_lie(tmp_path, published, name):
    published(name, tmp_path / "mine")
    data = sets.load(name, tmp_path / "mine")
    assert data.images.shape == (6, 32, 32, 3) and data.labels.tolist() == [0, 1, 2, 3, 0, 1]
    assert len(data.classes) == {"cifar10": 10, "cifar100": 100}[name]
    first = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)[0].reshape(3, 32, 32)
    assert np.array_equal(data.images[0], first.transpose(1, 2, 0))


@pytest.mark.parametrize(("size", "digest", "split"), [
    (8, "5b54002fac9eb42e", "4cbfde63052ccae7"), (32, "efba39f0496a4bcd", "eff206eea16ec829")])
def test_official_batches_are_what_they_were(tmp_path, published, size, digest, split):
    """As the first version of this code read the same batches."""
    published("cifar10", tmp_path / "mine")
    data = sets.load("cifar10", tmp_path / "mine", image_size=size)
    assert (data.label, data.digest) == ("CIFAR-10", digest)
    assert data.statistics == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    assert make_split(6, 1, 1, 2, data.digest, data.twins).digest == split


@pytest.mark.parametrize("name", FILES)
def test_the_folder_of_the_batches_may_be_named_itself(tmp_path, published, same, monkeypatch, name):
    folder = published(name, tmp_path / "mine")
    expected = sets.load(name, tmp_path / "mine")
    assert same(expected, sets.load(name, folder))
    monkeypatch.chdir(folder)
    assert same(expected, sets.load(name, "."))


@pytest.mark.parametrize("name", FILES)
def test_batches_in_a_folder_of_another_name_are_named(tmp_path, published, name):
    folder = published(name, tmp_path / "mine")
    with pytest.raises(CompLeakError, match=f"batches under another name; call their folder {FILES[name][1]}"):
        sets.load(name, folder.rename(tmp_path / "cifar"))


def test_cifar100_has_its_own_statistics_and_100_classes(official):
    data = sets.load("cifar100")
    scaled = data.images / 255
    np.testing.assert_allclose(data.statistics[0], scaled.mean((0, 1, 2)), rtol=1e-12)
    assert data.classes == CIFAR100_CLASSES and len(set(data.classes)) == 100
    assert data.classes == tuple(sorted(data.classes))  # class folders are numbered in this order too


def test_cifar100_may_be_class_folders(tmp_path, write_pictures):
    write_pictures(tmp_path / "copy", CIFAR100_CLASSES, count=1, ending="jpg", quality=75)
    data = sets.load("cifar100", tmp_path / "copy", image_size=8)
    assert data.label == "CIFAR-100 (JPEG q75)" and data.labels.tolist() == list(range(100))
    (tmp_path / "copy" / "apple").rename(tmp_path / "copy" / "apples")
    with pytest.raises(CompLeakError, match="CIFAR-100's are apple, aquarium_fish, .*, …"):
        sets.load("cifar100", tmp_path / "copy", image_size=8)


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("File not found or corrupted")])
def test_a_failed_download_says_where_to_put_the_file(monkeypatch, datasets, error):
    class Refused(Official):
        def __init__(self, *args, **kwargs):
            raise error

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Refused)
    with pytest.raises(CompLeakError) as raised:
        sets.load("cifar10")
    said = str(raised.value)
    assert str(error) in said and f"cifar-10-python.tar.gz into {datasets}" in said and "--data_dir" in said


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", ["data_dir", "datasets"])
def test_a_damaged_archive_that_lies_in_place_is_named(tmp_path, datasets, monkeypatch, name, where):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("a download was tried"))
    folder = tmp_path / "mine" if where == "data_dir" else datasets
    folder.mkdir()
    archive = folder / FILES[name][2]
    archive.write_bytes(b"\x1f\x8b half an archive")
    with pytest.raises(CompLeakError, match=f"{FILES[name][2]} is damaged or incomplete .*delete it") as error:
        sets.load(name, folder if where == "data_dir" else None)
    assert "\n" not in str(error.value) and archive.read_bytes() == b"\x1f\x8b half an archive"


def test_a_damaged_batch_is_named_where_no_archive_can_be_had(tmp_path, published):
    folder = published("cifar10", tmp_path / "mine")
    (folder / "test_batch").write_bytes(b"half a batch")
    with pytest.raises(CompLeakError, match="could not be downloaded .*no network.*cifar-10-batches-py/test_batch is "
                                            "damaged"):
        sets.load("cifar10", tmp_path / "mine")


def test_downloads_go_where_something_can_be_written(tmp_path, official, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("data.cache.FOLDER", tmp_path / "file" / "no folder")
    assert len(sets.load("cifar10", run_dir=tmp_path / "run").labels) == 10
    assert {root for root, *_ in official.asked} == {tmp_path / "run" / "datasets"}


def test_at_hand_asks_for_nothing(tmp_path, datasets, official):
    assert not sets.at_hand("cifar10") and not sets.at_hand("cifar100")
    assert sets.at_hand("digits") and sets.at_hand("cifar10", tmp_path)
    (datasets / FILES["cifar10"][1]).mkdir(parents=True)
    assert sets.at_hand("cifar10") and not sets.at_hand("cifar100")
    assert official.asked == []
