"""Answers in the tree: packed a file a model, no larger than allowed, laid out as they were, and known when changed."""
import shutil

import numpy as np
import pytest

from attacks.inputs import identities
from common.command import run as run_command
from common.errors import CompLeakError, UsageError
from common.files import load_arrays, read_json, save_arrays, write_json
from common.paths import ORIGINAL, Layout, Version
from models.answering import query_index
from models.run import Run
from workflow import answers

PRUNED, CONTROL = Version("pruning", "0.6"), Version("pruning", "1e-07")


@pytest.fixture
def run(made_up_run, edit_json):
    """A run of three versions whose settings name a folder of this machine."""
    layout = made_up_run([PRUNED, CONTROL], n=240)
    path = layout.result(ORIGINAL, "split.json")
    edit_json(path, run={**read_json(path)["run"], "data_dir": str(layout.run_dir / "pictures")})
    return Run(layout)


def test_what_is_laid_out_is_what_was_packed(run, tmp_path):
    lines = answers.pack(run, tmp_path / "packed")
    assert len(lines) == 12  # six models, their answers and their sensitivities
    again = answers.lay_out(tmp_path / "packed", tmp_path / "laid", sensitivities=True)
    rows = query_index(run.split, "scored")[1]
    for version in (ORIGINAL, PRUNED, CONTROL):
        for world in run.split.worlds:
            before, after = (one.queries(version, world.name) for one in (run, again))
            at = before.rows(rows)
            for name in ("logits", "losses", "labels", "index", "member"):
                assert np.array_equal(getattr(before, name)[at], getattr(after, name))
                assert getattr(before, name).dtype == getattr(after, name).dtype
            assert run.config(version, world.name) == again.config(version, world.name)
        assert identities(run, version).sensitivities == identities(again, version).sensitivities
    assert again.settings.data_dir is None and again.split.digest == run.split.digest


def test_sensitivities_stay_behind_unless_they_are_wanted(run, tmp_path):
    answers.pack(run, tmp_path / "packed")
    answers.lay_out(tmp_path / "packed", tmp_path / "laid", sensitivities=True)
    again = answers.lay_out(tmp_path / "packed", tmp_path / "laid")
    assert identities(again, ORIGINAL).sensitivities is None
    assert not list((tmp_path / "laid").rglob("sensitivity.npz"))


def test_no_path_of_this_machine_is_packed(run, tmp_path):
    answers.pack(run, tmp_path / "packed")
    kept = [path for path in (tmp_path / "packed").rglob("*") if path.is_file()]
    assert len(kept) == 25 and all(str(tmp_path).encode() not in path.read_bytes() for path in kept)


def test_finished_models_are_added_and_packed_ones_stay(run, tmp_path, capsys):
    unfinished = run.layout.file(PRUNED, "shadow_0", "config.json")
    config = unfinished.read_text()
    unfinished.unlink()
    shutil.rmtree(run.layout.root(CONTROL))
    assert len(answers.pack(run, tmp_path / "packed")) == 6
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*.*") if path.is_file()}
    laid = answers.lay_out(tmp_path / "packed", tmp_path / "laid")
    assert laid.versions() == [ORIGINAL]
    assert "pruning_0.6 is left out: shadow_0 not packed yet" in capsys.readouterr().out
    unfinished.write_text(config)
    answers.main(["--dataset_name", "digits", "--run_dir", str(run.layout.run_dir), "--reference",
                  str(tmp_path / "packed")])
    assert "2 file(s) packed" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == before for path, before in first.items())
    assert answers.lay_out(tmp_path / "packed", tmp_path / "laid").versions() == [ORIGINAL, PRUNED]


def test_runs_of_format_1_of_before_arithmetic_was_recorded_are_packed(run, tmp_path, edit_json):
    """As the code of commit 57e58f7 left them."""
    saved = read_json(run.path)
    assert "bfloat16" not in saved["run"]
    edit_json(run.path, run={name: value for name, value in saved["run"].items() if name != "data_dir"})
    answers.pack(Run(run.layout), tmp_path / "packed")
    assert answers.lay_out(tmp_path / "packed", tmp_path / "laid").settings.bfloat16 is None


def test_a_file_or_a_folder_that_is_too_large_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "ONE", 5_000)
    with pytest.raises(CompLeakError, match=r"original/target.npz would take [\d,]+ bytes, a file may have 5,000"):
        answers.pack(run, tmp_path / "packed")
    assert not list((tmp_path / "packed").rglob("*.npz"))
    monkeypatch.setattr(answers, "ONE", 2_000_000)
    monkeypatch.setattr(answers, "ALL", 20_000)
    with pytest.raises(CompLeakError, match="it may have 20,000"):
        answers.pack(run, tmp_path / "packed")
    assert sum(path.stat().st_size for path in (tmp_path / "packed").rglob("*.npz")) <= 20_000


def test_the_full_size_fits(tmp_path):
    """40,000 rows of ten classes, answers and sensitivities that no compression helps, of twenty models."""
    rng, rows = np.random.default_rng(0), 40_000
    logits, labels = rng.normal(size=(rows, 10)).astype(np.float32), rng.integers(10, size=rows).astype(np.uint8)
    answers._write(tmp_path / "original/target", {"logits": logits, "labels": labels}, {})
    answers._write(tmp_path / "original/target_sensitivity", {"sensitivity": logits[: rows // 2]}, {})
    assert 20 * sum(path.stat().st_size for path in tmp_path.rglob("*.npz")) < answers.ALL


def test_other_answers_and_other_runs_are_refused(run, made_up_run, tmp_path):
    answers.pack(run, tmp_path / "packed")
    path = run.layout.file(ORIGINAL, "target", "queries.npz")
    arrays, meta = load_arrays(path)
    meta.pop("format")
    save_arrays(path, meta, **{**arrays, "logits": arrays["logits"] + np.float32(1e-3)})
    with pytest.raises(CompLeakError, match="target.npz holds other answers than the run"):
        answers.pack(Run(run.layout), tmp_path / "packed")
    other = Run(made_up_run([], seed=1, n=240, folder="other"))
    with pytest.raises(CompLeakError, match="holds answers of another run"):
        answers.pack(other, tmp_path / "packed")
    with pytest.raises(UsageError, match="holds another run: name another --run_dir"):
        answers.lay_out(tmp_path / "packed", tmp_path / "other")
    weights = Layout(tmp_path / "own", "digits", "resnet18").file(ORIGINAL, "target", "weights.pt")
    shutil.copytree(run.layout.run_dir, tmp_path / "own")
    weights.write_bytes(b"")
    with pytest.raises(UsageError, match="holds another run"):
        answers.lay_out(tmp_path / "packed", tmp_path / "own")


def _resaved(path):
    arrays = dict(np.load(path))
    arrays["logits"][0, 0] += np.float32(1e-3)
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize(("name", "change"), [
    ("split.json", lambda path: path.write_text(path.read_text().replace('"seed": 0', '"seed": 1', 1))),
    ("original/target.json", lambda path: path.write_text(path.read_text().replace("target", "shadow_0", 1))),
    ("pruning_0.6/shadow_0.npz", _resaved),
    ("pruning_0.6/shadow_0.npz", lambda path: path.write_bytes(path.read_bytes()[:-40])),
    ("pruning_0.6/shadow_0.npz", lambda path: path.unlink())])
def test_a_changed_file_ends_in_one_line(run, tmp_path, capsys, name, change):
    answers.pack(run, tmp_path / "packed")
    change(tmp_path / "packed" / name)
    with pytest.raises(SystemExit) as stop:
        run_command(lambda argv: answers.lay_out(*argv), [tmp_path / "packed", tmp_path / "laid"])
    said = capsys.readouterr().err
    assert stop.value.code == 1 and said.count("\n") == 1
    assert f"{tmp_path / 'packed' / name} is " in said and "git checkout --" in said


def test_a_json_file_that_says_another_digest_is_caught(run, tmp_path):
    answers.pack(run, tmp_path / "packed")
    path = tmp_path / "packed/original/target.json"
    write_json(path, {**read_json(path), "digest": "0" * 16})
    with pytest.raises(CompLeakError, match="its contents changed"):
        answers.lay_out(tmp_path / "packed", tmp_path / "laid")
