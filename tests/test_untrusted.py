"""Files from elsewhere cannot run code: a planted pickle stays asleep in every format that the project reads."""
import io
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch

from common.errors import CompLeakError
from common.files import load_arrays, read_json
from data import cache, sets
from models.queries import load_queries
from models.weights import Progress, read_weights

OFFICIAL = "cifar-10-batches-py"


def as_pickle(path, trap):
    path.write_bytes(pickle.dumps({"format": 1, "inputs": trap, "state": trap}))


def as_torch(path, trap):
    torch.save({"format": 1, "tensors": {}, "settings": "{}", "fingerprint": "", "checksum": "", "state": trap}, path)


def as_old_torch(path, trap):
    torch.save({"format": 1, "settings": "{}", "state": trap}, path, _use_new_zipfile_serialization=False)


def as_arrays(path, trap):
    names = ("meta", "logits", "losses", "labels", "index", "member", "sensitivity")
    with open(path, "wb") as file:
        np.savez(file, **{name: np.array([trap], dtype=object) for name in names})


def as_array(path, trap):
    with open(path, "wb") as file:
        np.save(file, np.array([trap], dtype=object))


READERS = {
    "weights.pt": lambda path: read_weights(path),
    "progress.pt": lambda path: Progress(path, {}).load(),
    "queries.npz": lambda path: load_queries(path),
    "sensitivity.npz": lambda path: load_arrays(path, ("index", "sensitivity")),
    "NR_scores.npz": lambda path: load_arrays(path),
    "NR.json": lambda path: read_json(path),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("plant", [as_pickle, as_torch, as_old_torch, as_arrays, as_array])
@pytest.mark.parametrize("name", READERS)
def test_a_planted_pickle_does_not_run(tmp_path, name, plant, planted):
    path, trap = tmp_path / name, tmp_path / "ran"
    plant(path, planted(trap))
    try:
        assert READERS[name](path) is None
    except CompLeakError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    assert not trap.exists()


@pytest.mark.parametrize(("plant", "spring"), [
    (as_pickle, lambda path: pickle.loads(path.read_bytes())),
    (as_torch, lambda path: torch.load(path, weights_only=False)),
    (as_old_torch, lambda path: torch.load(path, weights_only=False)),
    (as_arrays, lambda path: np.load(path, allow_pickle=True)["meta"]),
    (as_array, lambda path: np.load(path, allow_pickle=True)),
])
def test_the_traps_work(tmp_path, plant, spring, planted):
    plant(tmp_path / "file", planted(tmp_path / "ran"))
    spring(tmp_path / "file")
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["array", "meta"])
def test_a_pickle_in_the_picture_cache_does_not_run(cifar_like, tmp_path, monkeypatch, name, planted):
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "datasets")
    expected = sets.load("cifar10", cifar_like, image_size=8).digest
    path = next((tmp_path / "datasets").glob("*.npy" if name == "array" else "*.json"))
    for plant in (as_array, as_pickle):
        plant(path, planted(tmp_path / "ran"))
        assert sets.load("cifar10", cifar_like, image_size=8).digest == expected
        assert not (tmp_path / "ran").exists()


@pytest.fixture
def offline(monkeypatch):
    """No download: what would ask the network fails as it does without one."""

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def test_a_pickle_in_the_official_batches_does_not_run(tmp_path, offline, planted):
    """torchvision unpickles a batch only where its MD5 is the official one."""
    (tmp_path / OFFICIAL).mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        as_pickle(tmp_path / OFFICIAL / name, planted(tmp_path / "ran"))
    with pytest.raises(CompLeakError, match="CIFAR-10 could not be downloaded"):
        sets.load("cifar10", tmp_path)
    assert not (tmp_path / "ran").exists()


def evil_archive(path, outside):
    """A tar whose members would be written beside the folder that it is extracted in, through a link and by ".."."""
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo(f"{OFFICIAL}/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(link)
        for name in (f"{OFFICIAL}/link/through", f"../{outside.name}/up", f"{outside}/absolute"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))


def test_an_archive_stays_in_its_folder(tmp_path, offline, monkeypatch):
    """An archive with another MD5 is not opened; and one that passed would not leave its folder either."""
    folder, outside = tmp_path / "data", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    evil_archive(folder / "cifar-10-python.tar.gz", outside)
    with pytest.raises(CompLeakError, match="cifar-10-python.tar.gz is damaged"):
        sets.load("cifar10", folder)
    assert not (folder / OFFICIAL).exists() and not list(outside.iterdir())
    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", lambda path, md5=None: os.path.isfile(path))
    with pytest.raises((CompLeakError, tarfile.FilterError)):
        sets.load("cifar10", folder)
    assert not list(outside.iterdir())
