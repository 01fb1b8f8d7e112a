"""models/stage.py through the commands: what is finished stays, what changed or broke is made again."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from clustering import clustering
from common.errors import CompLeakError, UsageError
from common.files import load_arrays
from common.paths import ORIGINAL, Layout, Version
from models import making, stage
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.queries import load_queries
from models.run import Run
from models.weights import read_weights
from pruning import prune

DIGITS = ["--dataset_name", "digits", "--device", "cpu", "--amp", "off", "--query_rows", "scored", "--no-sensitivity"]
TRAIN = ["--image_size", "8", "--train_size", "40", "--epochs", "1", "--lr", "0.05", "--batch_size", "20"]
PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """resnet18 with few channels, for every command here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy"))
        yield


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A run with originals and 60% pruned models, not to be changed."""
    run_dir = tmp_path_factory.mktemp("finished")
    run_train(run_dir)
    run_prune(run_dir)
    return run_dir


@pytest.fixture
def run_dir(finished, tmp_path):
    """A copy of that run, times of change included."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def run_train(run_dir, *more):
    train.main([*DIGITS, *TRAIN, "--run_dir", str(run_dir), *more])


def run_prune(run_dir, *more):
    prune.main([*DIGITS, "--prune_epochs", "1", "--lr", "0.01", "--run_dir", str(run_dir), *more])


def layout(run_dir):
    return Layout(Path(run_dir), "digits", "resnet18")


def state(run_dir):
    """{file: (time of change, content)} of everything in a run but the split, which train.py writes each time."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(run_dir.glob("**/*_*/*/*.*"))
            if path.name != "split.json"}


def weights(run_dir, version=ORIGINAL, world="target"):
    return read_weights(layout(run_dir).file(version, world, "weights.pt"))


def test_a_stage_leaves_its_files(finished):
    for version in (ORIGINAL, PRUNED):
        for world in ("target", "shadow_0"):
            folder = layout(finished).file(version, world, "weights.pt").parent
            assert {path.name for path in folder.iterdir()} == {"weights.pt", "config.json", "log.jsonl", "queries.npz"}
            config = json.loads((folder / "config.json").read_text())
            assert config["weights"] == weights(finished, version, world)["digest"]
            assert config["bytes"] == (folder / "weights.pt").stat().st_size
            assert len((folder / "log.jsonl").read_text().splitlines()) == 1
    assert weights(finished, PRUNED)["settings"]["parent"] == weights(finished)["digest"]


def test_target_and_shadow_start_and_train_apart(finished):
    one, other = (weights(finished, world=world)["tensors"]["conv1.weight"] for world in ("target", "shadow_0"))
    assert not torch.allclose(one, other, atol=1e-2)


def test_queries_know_their_members_and_accuracy(finished):
    split = Run(layout(finished)).split
    for version in (ORIGINAL, PRUNED):
        for world in split.worlds:
            queries = load_queries(layout(finished).file(version, world.name, "queries.npz"))
            assert np.array_equal(queries.index, np.sort(np.concatenate([w.evaluation for w in split.worlds])))
            assert set(queries.index[queries.member]) == set(world.members) & set(queries.index)
            at = queries.rows(world.evaluation)
            correct = queries.logits[at].argmax(1) == queries.labels[at]
            config = json.loads(layout(finished).file(version, world.name, "config.json").read_text())
            assert config["accuracy_in"] == pytest.approx(correct[:40].mean())
            assert config["accuracy_out"] == pytest.approx(correct[40:].mean())


@pytest.mark.parametrize("again", [run_train, run_prune])
def test_a_finished_stage_is_not_repeated(run_dir, capsys, again):
    before = state(run_dir)
    again(run_dir)
    assert state(run_dir) == before
    assert "trained in" not in capsys.readouterr().out


@pytest.mark.parametrize(("again", "more", "version"), [
    (run_train, ("--epochs", "2"), ORIGINAL), (run_train, ("--lr", "0.02"), ORIGINAL),
    (run_prune, ("--prune_epochs", "2"), PRUNED)])
def test_changed_settings_train_again_only_where_that_is_asked_for(run_dir, again, more, version):
    path = layout(run_dir).file(version, "target", "log.jsonl")
    before, files = weights(run_dir, version), state(run_dir)
    with pytest.raises(UsageError, match=f"^{more[0]}: .* now {more[1]}.*another --run_dir, or .* --retrain"):
        again(run_dir, *more)
    assert state(run_dir) == files
    again(run_dir, *more, "--retrain")
    after = weights(run_dir, version)
    assert after["digest"] != before["digest"] and after["settings"] != before["settings"]
    assert len(path.read_text().splitlines()) == after["settings"]["epochs"]
    queries = load_queries(layout(run_dir).file(version, "target", "queries.npz"))
    assert queries.meta["weights"] == after["digest"]


def test_new_originals_are_compressed_again(run_dir):
    before = weights(run_dir, PRUNED)
    run_train(run_dir, "--epochs", "2", "--retrain")
    run_prune(run_dir)
    assert weights(run_dir, PRUNED)["digest"] != before["digest"]
    assert weights(run_dir, PRUNED)["settings"]["parent"] == weights(run_dir)["digest"]


@pytest.mark.parametrize("damage", [lambda raw: raw[:500], lambda raw: b"", lambda raw: raw[:-3000] + raw[-2990:]])
def test_damaged_weights_are_made_again_and_come_out_the_same(run_dir, capsys, damage):
    path = layout(run_dir).file(ORIGINAL, "target", "weights.pt")
    before = weights(run_dir)["digest"]
    untouched = layout(run_dir).file(ORIGINAL, "shadow_0", "weights.pt").stat().st_mtime_ns
    path.write_bytes(damage(path.read_bytes()))
    run_train(run_dir)
    assert weights(run_dir)["digest"] == before
    assert layout(run_dir).file(ORIGINAL, "shadow_0", "weights.pt").stat().st_mtime_ns == untouched
    assert "making it again" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["queries.npz", "config.json"])
def test_lost_files_are_written_again_without_training(run_dir, capsys, name):
    path = layout(run_dir).file(PRUNED, "target", name)
    before = path.read_bytes()
    path.unlink()
    run_prune(run_dir)
    if name == "queries.npz":
        assert path.read_bytes() == before
    assert path.exists() and "trained in" not in capsys.readouterr().out


def test_damaged_queries_are_made_again(run_dir):
    path = layout(run_dir).file(PRUNED, "target", "queries.npz")
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 1
    for damaged in (good[:200], bytes(flipped)):
        path.write_bytes(damaged)
        run_prune(run_dir)
        assert path.read_bytes() == good


def test_a_missing_original_names_its_file_and_command(run_dir):
    path = layout(run_dir).file(ORIGINAL, "shadow_0", "weights.pt")
    path.unlink()
    with pytest.raises(CompLeakError) as error:
        run_prune(run_dir, "--prune_sparsity", "0.9")
    assert str(path) in str(error.value)
    assert "run python train.py --dataset_name digits --model_name resnet18" in str(error.value)


def test_compression_before_training_names_the_command(tmp_path):
    with pytest.raises(CompLeakError, match="split.json is missing: run python train.py --dataset_name digits"):
        run_prune(tmp_path)


def test_a_contradicting_seed_is_refused(run_dir):
    before = state(run_dir)
    with pytest.raises(UsageError, match="--seed 5: the run in .* has seed 0"):
        run_prune(run_dir, "--seed", "5")
    run_prune(run_dir, "--seed", "0")
    assert state(run_dir) == before


def test_other_data_is_refused(run_dir, monkeypatch):
    load = stage.sets.load

    def other(*args, **given):
        data = load(*args, **given)
        return type(data)(**{**vars(data), "digest": "other"})

    monkeypatch.setattr(stage.sets, "load", other)
    run_prune(run_dir)  # what is finished needs no pictures
    with pytest.raises(CompLeakError, match="is not the data that .*split.json was made from"):
        run_prune(run_dir, "--prune_sparsity", "0.8")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"run": {}}', '{"run": {"seed": 0}, "format": 1}'])
def test_a_damaged_split_is_one_line(run_dir, content):
    layout(run_dir).result(ORIGINAL, "split.json").write_text(content)
    with pytest.raises(CompLeakError, match="split"):
        run_prune(run_dir)


def test_a_further_shadow_keeps_what_is_there(run_dir):
    before = {world: weights(run_dir, version, world)["digest"]
              for version in (ORIGINAL, PRUNED) for world in ("target", "shadow_0")}
    log = layout(run_dir).file(ORIGINAL, "target", "log.jsonl").stat().st_mtime_ns
    run_train(run_dir, "--shadow_num", "2")
    run_prune(run_dir)
    assert before == {world: weights(run_dir, version, world)["digest"]
                      for version in (ORIGINAL, PRUNED) for world in ("target", "shadow_0")}
    assert layout(run_dir).file(ORIGINAL, "target", "log.jsonl").stat().st_mtime_ns == log
    # Every model answers every evaluation row, the new shadow's too: attacks pair rows by index.
    indices = [load_queries(layout(run_dir).file(version, world, "queries.npz")).index
               for version in (ORIGINAL, PRUNED) for world in ("target", "shadow_0", "shadow_1")]
    assert all(np.array_equal(index, indices[0]) for index in indices)


def test_a_run_keeps_its_seed_when_train_is_called_again_without_it(tmp_path):
    run_train(tmp_path, "--seed", "5")
    before = state(tmp_path)
    run_train(tmp_path)
    assert state(tmp_path) == before


def test_a_stopped_stage_goes_on(tmp_path, finished, monkeypatch):
    monkeypatch.setattr("models.training.SAVE_EVERY", -1)
    save, saves = making.Progress.save, []

    def stop_at_the_third(self, state):
        save(self, state)
        saves.append(state["step"])
        if len(saves) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(making.Progress, "save", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_train(tmp_path)
    assert layout(tmp_path).file(ORIGINAL, "shadow_0", "progress.pt").exists()
    run_train(tmp_path)
    for world in ("target", "shadow_0"):
        assert weights(tmp_path, world=world)["digest"] == weights(finished, world=world)["digest"]
        assert not layout(tmp_path).file(ORIGINAL, world, "progress.pt").exists()


def test_an_epoch_that_is_run_again_is_logged_once(tmp_path, monkeypatch):
    monkeypatch.setattr("models.training.SAVE_EVERY", -1)
    save = making.Progress.save

    def save_the_first_epoch_stop_in_the_third(self, state):
        if state["epoch"] == 0:
            save(self, state)
        elif state["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(making.Progress, "save", save_the_first_epoch_stop_in_the_third)
        run_train(tmp_path, "--epochs", "3")
    log = layout(tmp_path).file(ORIGINAL, "target", "log.jsonl")
    assert len(log.read_text().splitlines()) == 2
    run_train(tmp_path, "--epochs", "3")
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3]


def test_clustered_models_hold_few_values(run_dir):
    clustering.main([*DIGITS, "--epochs", "1", "--lr", "0.001", "--run_dir", str(run_dir)])
    saved = weights(run_dir, CLUSTERED)
    books = [tensor for name, tensor in saved["tensors"].items() if name.endswith(".codebook")]
    assert len(books) == 21 and max(map(len, books)) == 4
    assert saved["settings"]["parent"] == weights(run_dir)["digest"]


def test_sensitivities_are_those_of_the_evaluation_rows(run_dir):
    run_train(run_dir, "--sensitivity")
    for world in Run(layout(run_dir)).split.worlds:
        arrays, meta = load_arrays(layout(run_dir).file(ORIGINAL, world.name, "sensitivity.npz"),
                                   ("index", "sensitivity"))
        assert np.array_equal(arrays["index"], np.sort(world.evaluation))
        assert arrays["sensitivity"].shape == (80, 10) and (arrays["sensitivity"] >= 0).all()
        assert meta["weights"] == weights(run_dir, world=world.name)["digest"]


def test_answers_to_more_pictures_than_are_asked_stay(run_dir):
    run_prune(run_dir, "--query_rows", "all")
    path = layout(run_dir).file(PRUNED, "target", "queries.npz")
    before = path.read_bytes()
    assert len(load_queries(path).index) == 1796
    run_prune(run_dir)
    assert path.read_bytes() == before
