"""attacks/audit.py: folders with other techniques' names, system files, two spellings, two audits at once."""
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import CompLeakNR
from attacks import audit
from common.errors import CompLeakError
from common.paths import Layout, Version
from evaluation import evidence, tables
from evaluation.names import short
from models import hints
from models.run import Run

NAMES = ("original", "int4", "onnx-int8", "distilled_half")


def answers(first, seed, n=200, leak=2.0):
    rng, member = np.random.default_rng(first), np.arange(n) < n // 2
    labels = rng.integers(3, size=n)
    logits = np.random.default_rng(seed).normal(size=(n, 3)) + np.eye(3)[labels] * (1 + leak * member[:, None])
    return {"logits": logits, "labels": labels, "index": np.arange(first, first + n), "member": member}


def write(folder, names=NAMES, change=lambda arrays: arrays):
    """A folder of answers: a target and a shadow of each version."""
    for seed, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number, world in enumerate(("target", "shadow_0")):
            np.savez(folder / name / f"{world}.npz", **change(answers(1000 * number, 2 * seed + number)))
    return folder


def imported(outputs, run_dir, seed=0):
    run, lines = audit.import_folder(outputs, Layout(run_dir, "own", "model"), "own models", seed)
    print("\n".join(lines))
    return run.layout


@pytest.mark.parametrize("name", ["one_two_three", "gptq_4bit_128g", "onnx-int8", "distilled", "pruning", "pruning_1.5",
                                  "quantization_int4", "clustering_5", "original_2", "größe_klein"])
def test_what_no_technique_here_made_keeps_its_name(tmp_path, name):
    run = Run(imported(write(tmp_path / "outputs", ("original", name)), tmp_path / "audit"))
    versions = run.versions()
    assert list(map(str, versions)) == ["original", name] and Version.named(name) == versions[1]
    table, = tables.build(evidence.read(run))
    assert name in table.blocks["Models"]["compression"].tolist() and short(f"RMIA on {name}") == f"RMIA on {name}"
    assert hints.attacks(run.layout, "SR", versions[1:]) == hints.module(run.layout, "attacks.mr") == \
        f"python CompLeakAudit.py --outputs FOLDER --run_dir {run.layout.run_dir}"


@pytest.mark.parametrize("name", ["_0.6", "int4_", "a b", "-int4", "a,b", "int4-", "x" * 200])
def test_names_that_cannot_be_are_refused_in_one_line(tmp_path, name):
    with pytest.raises(CompLeakError, match=re.escape(f"{name}: a version called ")) as caught:
        imported(write(tmp_path / "outputs", ("original", name)), tmp_path / "audit")
    assert "\n" not in str(caught.value) and not (tmp_path / "audit").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", "int4_8"])
def test_a_flag_cannot_name_what_is_no_version(tmp_path, name):
    layout = imported(write(tmp_path / "outputs"), tmp_path / "audit")
    with pytest.raises(CompLeakError):
        CompLeakNR.main(["--dataset_name", "own", "--model_name", "model", "--run_dir", str(layout.run_dir),
                         "--compress", "--compress_name", name, "--compress_degree", "1"])
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize(("one", "other"), [("pruning_0.6", "pruning_0.60"), ("pruning_0.6", "pruning_6e-1"),
                                            ("clustering_04", "clustering_4"), ("INT4", "int4")])
def test_one_version_spelled_twice_is_refused_with_both_names(tmp_path, one, other):
    outputs = write(tmp_path / "outputs", ("original", one, other))
    with pytest.raises(CompLeakError, match=re.escape(f"{one} and {outputs / other} are one version, ")):
        imported(outputs, tmp_path / "audit")


def test_what_systems_leave_in_a_folder_of_answers_is_ignored(tmp_path, capsys):
    outputs = write(tmp_path / "outputs", ("original", "int4"))
    for name in (".DS_Store", "original/._target.npz", "original/Thumbs.db", "int4/.target.npz.123-4567"):
        (outputs / name).write_bytes(b"\0\5\26\7")
    for name in ("__MACOSX", "@eaDir", ".ipynb_checkpoints", "original/@eaDir", "original/.ipynb_checkpoints"):
        (outputs / name).mkdir()
    assert list(map(str, Run(imported(outputs, tmp_path / "audit")).versions())) == ["original", "int4"]


def test_every_models_accuracy_is_said_and_what_is_swapped_shows(tmp_path, capsys):
    def said(change, name):
        imported(write(tmp_path / name, ("original", "int4"), change), tmp_path / f"{name} run")
        line = r"(original|int4) (target|shadow_0): accuracy ([\d.]+)% on members, ([\d.]+)% on non-members(.*)"
        return re.findall(line, capsys.readouterr().out)

    found = said(lambda arrays: arrays, "right")
    assert len(found) == 4 and all(float(inside) > float(outside) and not rest for *_, inside, outside, rest in found)
    found = said(lambda arrays: {**arrays, "logits": -arrays["logits"]}, "sign")
    assert all("members at chance or below: look at the labels' order and the sign" in rest for *_, rest in found)
    found = said(lambda arrays: {**arrays, "labels": (arrays["labels"] + 1) % 3}, "labels")
    assert all("members at chance or below" in rest for *_, rest in found)
    found = said(lambda arrays: {**arrays, "member": ~arrays["member"]}, "members")
    assert all("non-members are known better" in rest for *_, rest in found)


@pytest.mark.parametrize(("outputs", "seed"), [("one", 1), ("two", 0), ("fewer", 0)])
def test_a_second_audit_of_another_seed_or_other_answers_is_refused(tmp_path, outputs, seed):
    write(tmp_path / "one")
    write(tmp_path / "two", change=lambda arrays: {**arrays, "logits": 2 * arrays["logits"]})
    write(tmp_path / "fewer", NAMES[:-1])
    layout = imported(tmp_path / "one", tmp_path / "audit")
    before = {path: path.read_bytes() for path in layout.run_dir.rglob("*") if path.is_file()}
    with pytest.raises(CompLeakError, match="already holds an audit of other answers or another --seed"):
        imported(tmp_path / outputs, tmp_path / "audit", seed)
    imported(tmp_path / "one", tmp_path / "audit")
    assert {path: path.read_bytes() for path in layout.run_dir.rglob("*") if path.is_file()} == before


def test_one_more_version_joins_the_same_audit(tmp_path):
    outputs = write(tmp_path / "outputs", NAMES[:-1])
    layout = imported(outputs, tmp_path / "audit")
    before = {path: path.read_bytes() for path in layout.run_dir.rglob("*.npz")}
    for world in ("target", "shadow_0"):
        (outputs / NAMES[-1]).mkdir(exist_ok=True)
        shutil.copy(outputs / "int4" / f"{world}.npz", outputs / NAMES[-1])
    assert set(map(str, Run(imported(outputs, tmp_path / "audit")).versions())) == set(NAMES)
    assert all(path.read_bytes() == held for path, held in before.items())


def test_of_two_audits_at_once_one_stands_whole_and_the_other_is_told(tmp_path, monkeypatch):
    write(tmp_path / "one")
    write(tmp_path / "two", change=lambda arrays: {**arrays, "logits": 2 * arrays["logits"]})
    barrier, build = threading.Barrier(2), audit._build_run

    def together(*given):
        barrier.wait(60)
        return build(*given)

    def attempt(name):
        try:
            imported(tmp_path / name, tmp_path / "audit")
        except CompLeakError as error:
            return str(error)

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:  # a lock holds between threads as well
        patch.setattr(audit, "_build_run", together)
        said = list(pool.map(attempt, ("one", "two")))
    assert said.count(None) == 1
    assert re.search("another process is working on this|already holds an audit", next(filter(None, said)))
    first = imported(tmp_path / ("one" if said[0] is None else "two"), tmp_path / "alone")
    for path in first.run_dir.rglob("*.npz"):
        assert path.read_bytes() == (tmp_path / "audit" / path.relative_to(first.run_dir)).read_bytes()
