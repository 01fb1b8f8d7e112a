"""models/stage.py: what it refuses so that no model is lost or paired with another's by accident."""
import json
import shutil
from pathlib import Path

import pytest

import train
from attacks.inputs import read_version
from common.errors import CompLeakError, UsageError
from common.files import locked, read_json, write_json
from common.paths import ORIGINAL, Layout, Version
from models import making, stage
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.run import Run
from models.weights import Progress, read_weights
from pruning import prune

DIGITS = ["--dataset_name", "digits", "--device", "cpu", "--amp", "off", "--query_rows", "scored", "--no-sensitivity"]
TRAIN = ["--image_size", "8", "--train_size", "30", "--epochs", "1", "--lr", "0.05", "--batch_size", "15"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (2, 4, 4, 8)), "toy"))
        run_dir = tmp_path_factory.mktemp("finished")
        train.main([*DIGITS, *TRAIN, "--run_dir", str(run_dir)])
        yield run_dir


@pytest.fixture
def layout(finished, tmp_path):
    """A copy of a run with its two originals."""
    shutil.copytree(finished, tmp_path / "run")
    return Layout(tmp_path / "run", "digits", "resnet18")


def again(layout, *more):
    train.main([*DIGITS, *TRAIN, "--run_dir", str(layout.run_dir), *more])


def state(layout):
    return {path: path.read_bytes() for path in Path(layout.run_dir).rglob("*") if path.is_file()}


@pytest.mark.parametrize("flags", [["--seed", "5"], ["--train_size", "20"], ["--image_size", "9"], ["--no-augment"],
                                   ["--pools", "shared"], ["--pool_size", "90"], ["--batch_size", "10"]])
def test_train_does_not_replace_the_models_of_another_run(layout, flags):
    before = state(layout)
    named = flags[0].replace("--no-", "--")
    with pytest.raises(UsageError, match=f"^{named}.*: (the run in .* has|.* made with other) .*another --run_dir"):
        again(layout, *flags)
    assert state(layout) == before


def test_a_lost_split_does_not_cost_the_models(layout):
    path = layout.result(ORIGINAL, "split.json")
    before = state(layout)
    path.unlink()
    with pytest.raises(UsageError, match="models of another run and no split.json.*--seed 0, --train_size 30"):
        again(layout, "--seed", "5")
    assert not path.exists()
    again(layout)
    assert state(layout) == before


def test_changed_settings_are_named_before_a_model_is_made_again(layout, capsys):
    again(layout, "--epochs", "2", "--retrain")
    said = capsys.readouterr().out
    assert "original target: made with other settings (epochs 1, now 2): making it again" in said


def test_a_forgotten_flag_is_refused_for_models_of_an_older_original_too(layout):
    def pruned(*more):
        prune.main([*DIGITS, "--prune_epochs", "1", "--lr", "0.01", "--worlds", "target", "--run_dir",
                    str(layout.run_dir), *more])

    def parent():
        return read_weights(layout.file(Version("pruning", "0.6"), "target", "weights.pt"))["settings"]["parent"]

    pruned()
    again(layout, "--epochs", "2", "--retrain")
    before = state(layout)
    with pytest.raises(UsageError, match="^--lr: .*lr 0.01, now 0.02.*another --run_dir, or .* --retrain"):
        pruned("--lr", "0.02")
    assert state(layout) == before
    pruned()
    assert parent() == read_weights(layout.file(ORIGINAL, "target", "weights.pt"))["digest"]


def test_arithmetic_is_the_runs_whatever_another_machine_would_choose(layout, monkeypatch):
    monkeypatch.setattr(stage, "use_bfloat16", lambda amp, *where: amp == "auto")
    before = state(layout)
    again(layout, "--amp", "auto")
    assert state(layout) == before
    saved = read_json(layout.result(ORIGINAL, "split.json"))
    write_json(layout.result(ORIGINAL, "split.json"), {**saved, "run": {**saved["run"], "bfloat16": True}})
    with pytest.raises(UsageError, match="^--amp off: the run in .* trains in bfloat16; .*another --run_dir$"):
        again(layout)


def test_another_name_of_the_data_makes_no_model_stale(layout):
    path, weights = layout.result(ORIGINAL, "split.json"), layout.file(ORIGINAL, "target", "weights.pt")
    before, saved = weights.stat().st_mtime_ns, read_json(path)
    write_json(path, {**saved, "run": {**saved["run"], "data_label": "figures by hand"}})
    again(layout)
    assert weights.stat().st_mtime_ns == before


def test_the_split_has_a_lock_of_its_own(layout, monkeypatch):
    """Target and shadow may be made by two processes at once: each waits for the other to write it."""
    monkeypatch.setattr(making, "locked", lambda path, wait=0: locked(path))
    path = layout.result(ORIGINAL, "split.json")
    with locked(path), pytest.raises(CompLeakError, match="split.json: another process"):
        again(layout)


def test_a_second_process_in_the_same_folder_is_refused(layout):
    before = state(layout)
    with locked(layout.root() / "shadow_0"), pytest.raises(CompLeakError, match="shadow_0: another process is working"):
        again(layout, "--epochs", "2")
    assert state(layout) == before


def test_a_compression_is_not_paired_with_another_models_accuracy(layout):
    """As when train.py is killed between the new weights and what describes them."""
    path = layout.file(ORIGINAL, "target", "config.json")
    write_json(path, {**read_json(path), "weights": "0" * 16})
    with pytest.raises(CompLeakError, match="config.json describes other weights than lie beside"):
        prune.main([*DIGITS, "--prune_epochs", "1", "--run_dir", str(layout.run_dir)])


def test_a_target_and_a_shadow_trained_apart_are_not_attacked(layout, tmp_path):
    """As when a new training with more epochs is killed after the target."""
    shutil.copytree(layout.run_dir, tmp_path / "longer")
    longer = Layout(tmp_path / "longer", "digits", "resnet18")
    again(longer, "--epochs", "2", "--retrain")
    shutil.copytree(longer.root() / "target", layout.root() / "target", dirs_exist_ok=True)
    with pytest.raises(CompLeakError, match="not trained alike .epochs 2 and 1.: run python train.py"):
        read_version(Run(layout), ORIGINAL)
    read_version(Run(longer), ORIGINAL)


def test_statistics_that_another_machine_sums_otherwise_stop_no_attack(layout):
    path = layout.file(ORIGINAL, "shadow_0", "config.json")
    config = read_json(path)
    (first, *rest), std = config["settings"]["statistics"]
    write_json(path, {**config, "settings": {**config["settings"],
                                             "statistics": [[first + 2.0 ** -52, *rest], std]}})
    read_version(Run(layout), ORIGINAL)


def test_progress_left_by_a_kill_after_the_model_was_saved_goes_another_trainings_stays(layout):
    path = layout.file(ORIGINAL, "target", "progress.pt")
    settings = read_weights(layout.file(ORIGINAL, "target", "weights.pt"))["settings"]
    for changes, stays in (({}, False), ({"epochs": 100}, True)):
        Progress(path, {**settings, **changes}).save({"epoch": 0})
        again(layout)
        assert path.exists() == stays


def test_a_log_with_garbage_in_it_does_not_stop_a_training(layout):
    path = layout.file(ORIGINAL, "target", "log.jsonl")
    first = path.read_bytes()
    path.write_bytes(first + b"\xff\xfe\x00 half a li")
    making._keep_lines(path, 1)
    assert path.read_bytes() == first and json.loads(first)["epoch"] == 1


def test_gradually_pruned_models_lie_beside_one_shot_ones(layout):
    def pruned(*more):
        prune.main([*DIGITS, "--prune_epochs", "2", "--lr", "0.01", "--worlds", "target", "--run_dir",
                    str(layout.run_dir), *more])

    def files(degree):
        path = layout.file(Version("pruning", degree), "target", "weights.pt")
        return read_weights(path)["settings"]["degree"], path.stat().st_mtime_ns

    pruned()
    before = files("0.6")
    pruned("--schedule", "gradual")
    made = files("gradual-0.6")
    pruned("--prune_sparsity", "gradual-0.6", "0.6")  # the same versions by their own spelling
    assert (files("0.6"), files("gradual-0.6")) == (before, made) and (before[0], made[0]) == ("0.6", "gradual-0.6")
    with pytest.raises(UsageError, match="--prune_epochs: pruning_gradual-0.6"):
        pruned("--schedule", "gradual", "--prune_epochs", "3")
