"""attacks/audit.py: folders with other techniques' names, system files, two spellings, two audits at once."""
import multiprocessing
import re
import shlex

import numpy as np
import pytest

import CompLeakNR
import CompLeakSR
from attacks import audit, classifiers, mr
from common.errors import CompLeakError
from common.paths import ORIGINAL, Layout, Version
from evaluation import tables
from models import hints
from models.run import Run

NAMES = ("original", "int4", "onnx-int8", "distilled_half")


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 20)


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


def imported(outputs, run_dir, *more):
    audit.main(["--outputs", str(outputs), "--run_dir", str(run_dir), *more])
    return Layout(run_dir, "own", "model")


def test_versions_of_any_name_go_through_nr_sr_mr_and_tables_by_the_commands_that_are_named(tmp_path, capsys):
    layout = imported(write(tmp_path / "outputs"), tmp_path / "audit")
    said = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")
    versions = Run(layout).versions()
    assert set(map(str, versions)) == set(NAMES) and Version("int4", "") in versions
    for main, commands in ((CompLeakNR.main, said), (CompLeakSR.main, hints.attacks(layout, "SR", versions[1:]))):
        for command in commands.split("; "):
            main(shlex.split(command)[2:] + ["--device", "cpu"])
    mr.main(["--dataset_name", "own", "--model_name", "model", "--run_dir", str(layout.run_dir)])
    for version in versions:
        assert layout.result(version, "NR.json").exists()
        assert version == ORIGINAL or layout.result(version, "SR.json").exists()
    assert "all 3, with the original" in capsys.readouterr().out
    built = {table.name: table for table in tables.build(Run(layout))}
    assert {"models", "C1", "C2", "C3"} == built.keys()
    shown = built["models"].frame.to_csv()
    assert all(name in shown for name in NAMES[1:])


@pytest.mark.parametrize("name", ["one_two_three", "_0.6", "int4_", "int_", "a b", "-int4", "original_2", "a,b",
                                  "pruning", "pruning_1.5", "quantization_int4", "clustering_5", "x" * 200])
def test_names_that_cannot_be_are_refused_in_one_line(tmp_path, name):
    with pytest.raises(CompLeakError, match=re.escape(f"{name}: a folder of answers is called original")) as caught:
        imported(write(tmp_path / "outputs", ("original", name)), tmp_path / "audit")
    assert "\n" not in str(caught.value) and not (tmp_path / "audit").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", "int4_8"])
def test_a_flag_cannot_name_what_no_folder_may(tmp_path, name):
    layout = imported(write(tmp_path / "outputs"), tmp_path / "audit")
    with pytest.raises(CompLeakError):
        CompLeakNR.main(["--dataset_name", "own", "--model_name", "model", "--run_dir", str(layout.run_dir),
                         "--compress", "--compress_name", name, "--compress_degree", "1"])
    assert not list(tmp_path.glob("x*"))


def test_one_degree_spelled_twice_is_refused_with_both_names(tmp_path):
    outputs = write(tmp_path / "outputs", ("original", "pruning_0.6", "pruning_0.60"))
    with pytest.raises(CompLeakError, match=r"pruning_0\.6 and .*pruning_0\.60 are one version, pruning_0\.6"):
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


@pytest.mark.parametrize("more", [["--seed", "1"], []])
def test_a_second_audit_of_another_seed_or_other_answers_is_refused(tmp_path, more):
    write(tmp_path / "one")
    write(tmp_path / "two", change=lambda arrays: {**arrays, "logits": 2 * arrays["logits"]})
    layout = imported(tmp_path / "one", tmp_path / "audit")
    before = {path: path.read_bytes() for path in layout.run_dir.rglob("*") if path.is_file()}
    with pytest.raises(CompLeakError, match="already holds an audit of other answers or another --seed"):
        imported(tmp_path / ("one" if more else "two"), tmp_path / "audit", *more)
    imported(tmp_path / "one", tmp_path / "audit")
    assert {path: path.read_bytes() for path in layout.run_dir.rglob("*") if path.is_file()} == before


def try_to_audit(outputs, run_dir, barrier, connection):
    build = audit.build_run

    def together(*given):
        barrier.wait(60)
        return build(*given)

    audit.build_run = together
    try:
        imported(outputs, run_dir)
        connection.send(None)
    except CompLeakError as error:
        connection.send(str(error))


def test_of_two_audits_at_once_one_stands_whole_and_the_other_is_told(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two", change=lambda arrays: {**arrays, "logits": 2 * arrays["logits"]})
    spawn = multiprocessing.get_context("spawn")
    barrier, ends, processes = spawn.Barrier(2), [], []
    for name in ("one", "two"):
        mine, its = spawn.Pipe()
        process = spawn.Process(target=try_to_audit, args=(tmp_path / name, tmp_path / "audit", barrier, its))
        process.start()
        ends.append(mine)
        processes.append(process)
    said = [end.recv() for end in ends]
    for process in processes:
        process.join()
    assert said.count(None) == 1
    assert re.search("another process is working on this|already holds an audit", next(filter(None, said)))
    first = imported(tmp_path / ("one" if said[0] is None else "two"), tmp_path / "alone")
    for path in first.run_dir.rglob("*.npz"):
        assert path.read_bytes() == (tmp_path / "audit" / path.relative_to(first.run_dir)).read_bytes()
