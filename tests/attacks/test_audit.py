"""attacks/audit.py: bare files become a run; numbers survive the round trip; what is missing or wrong is one line."""
import json
import re

import numpy as np
import pytest

import CompLeakNR
import CompLeakSR
from attacks import audit, classifiers, equals, mr
from attacks.attack import Context
from attacks.inputs import read_version
from attacks.metric_based import loss_score
from common.errors import CompLeakError, UsageError
from common.metrics import auc
from common.paths import ORIGINAL, Layout, Version
from evaluation import evidence, tables
from evaluation.names import short
from models.queries import load_queries
from models.run import Run

PRUNED = Version("pruning", "0.6")
OWN = ["--dataset_name", "own", "--model_name", "model"]
PAIR = ["--original", "--compress", "--compress_name", "pruning", "--compress_degree", "0.6", "--run_dir"]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Smaller forests: what is tested here holds for any number of trees, and fitting them is nearly all the time."""
    monkeypatch.setattr(classifiers, "TREES", 100)


def export(layout, folder, versions=(ORIGINAL, PRUNED), all_rows=True, worlds=2):
    """Write a run's answers as bare files: every row, those to be scored marked, or the scored rows alone."""
    for version in versions:
        for world in Run(layout).split.worlds[:worlds]:
            queries = load_queries(layout.file(version, world.name, "queries.npz"))
            rows = np.isin(queries.index, world.evaluation)
            kept = np.ones(len(rows), bool) if all_rows else rows
            arrays = {name: getattr(queries, name)[kept] for name in ("logits", "labels", "index", "member")}
            if all_rows:
                arrays["scored"] = rows
            path = folder / str(version) / f"{world.name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **arrays)
    return folder


def imported(outputs, run_dir):
    run, lines = audit.import_folder(outputs, Layout(run_dir, "own", "model"), "own models", 0)
    print("\n".join(lines))
    return run.layout


def nr(flags, run_dir, *more):
    CompLeakNR.main([*flags, "--original", "--run_dir", str(run_dir), "--device", "cpu", *more])


def attacks(layout, setting, version):
    """{attack: metrics}, without what they were made from."""
    found = json.loads(layout.result(version, f"{setting}.json").read_text())["attacks"]
    return {name: {key: value for key, value in metrics.items() if key != "inputs"} for name, metrics in found.items()}


@pytest.fixture
def source(made_up_run):
    """A made-up run without sensitivities, attacked by NR on the original."""
    layout = made_up_run([PRUNED], leak=1.0, n=600)
    for path in layout.run_dir.rglob("sensitivity.npz"):
        path.unlink()
    nr(["--dataset_name", "digits"], layout.run_dir)
    return layout


def test_exported_answers_give_the_same_numbers_through_nr_and_sr(source, tmp_path, capsys):
    CompLeakSR.main(["--dataset_name", "digits", *PAIR, str(source.run_dir)])
    layout = imported(export(source, tmp_path / "outputs"), tmp_path / "audit")
    nr(OWN, layout.run_dir)
    CompLeakSR.main([*OWN, *PAIR, str(layout.run_dir)])
    assert "RMIA" in attacks(source, "NR", ORIGINAL)
    assert attacks(layout, "NR", ORIGINAL) == attacks(source, "NR", ORIGINAL)
    assert attacks(layout, "SR", PRUNED) == attacks(source, "SR", PRUNED)
    with pytest.raises(CompLeakError, match="two or more compressed models, and .* knows 1"):
        mr.main([*OWN, "--run_dir", str(layout.run_dir)])
    capsys.readouterr()
    assert {"models", "C1", "C2"} == {table.name for table in tables.build(evidence.read(Run(layout)))}
    said = capsys.readouterr().out
    assert "NR lacks pruning_0.6: run" in said and "pruning_0.7" not in said, "only what was brought along is wanted"


def test_without_answers_on_each_others_rows_all_but_rmia_is_the_same(source, tmp_path, capsys):
    layout = imported(export(source, tmp_path / "outputs", all_rows=False), tmp_path / "audit")
    nr(OWN, layout.run_dir)
    said, expected = capsys.readouterr().out, attacks(source, "NR", ORIGINAL)
    assert "SAMIA is left out: it needs sensitivity.npz" in said
    assert "RMIA is left out: it needs every shadow's answers on the target's scored rows" in said
    assert attacks(layout, "NR", ORIGINAL) == {name: expected[name] for name in expected
                                               if "RMIA" not in name and name != "calibrated"}
    assert said.count(equals.NO_REFERENCE) == 1
    CompLeakSR.main([*OWN, *PAIR, str(layout.run_dir)])
    assert f"original + pruning_0.6: {equals.NO_REFERENCE}" in capsys.readouterr().out
    found = mr.attack_groups(Run(layout), Context(0), {"one": [PRUNED]}, rows=list(mr.EQUALS))["attacks"]
    assert f"MR: {equals.NO_REFERENCE}" in capsys.readouterr().out
    assert list(found) == ["one, confidence with the original", "one, confidence without the original"]


def test_a_shadow_that_answered_the_targets_rows_gives_rmia_without_threshold(source, tmp_path, capsys):
    outputs = export(source, tmp_path / "outputs", (ORIGINAL,))
    split = Run(source).split
    with np.load(outputs / "original" / "target.npz") as saved:
        kept = np.isin(saved["index"], split.target.evaluation)
        arrays = {name: saved[name][kept] for name in saved.files}
    np.savez(outputs / "original" / "target.npz", **arrays)
    layout = imported(outputs, tmp_path / "audit")
    nr(OWN, layout.run_dir, "--rmia_a", "auto")
    assert "RMIA is left out: --rmia_a auto: choosing it needs" in capsys.readouterr().out
    assert "RMIA" not in attacks(layout, "NR", ORIGINAL) and "loss_threshold" in attacks(layout, "NR", ORIGINAL)
    nr(OWN, layout.run_dir)
    found, expected = attacks(layout, "NR", ORIGINAL), attacks(source, "NR", ORIGINAL)
    assert "RMIA's ACC and its population score are left out" in capsys.readouterr().out
    assert found["RMIA"]["auc"] == expected["RMIA"]["auc"] and found["RMIA"]["acc"] is None
    assert "RMIA (population)" not in found


def test_a_single_model_without_shadow_has_threshold_free_numbers(source, tmp_path, capsys):
    layout = imported(export(source, tmp_path / "outputs", worlds=1), tmp_path / "audit")
    nr(OWN, layout.run_dir)
    said, found = capsys.readouterr().out, attacks(layout, "NR", ORIGINAL)
    assert "are left out: they need a shadow model" in said and said.count("ACC needs a shadow") == 4
    assert list(found) == ["metric_based_1", "metric_based_2", "loss_threshold", "correctness"]
    assert all(metrics["acc"] is metrics["acc_interval"] is metrics["fpr_of_decision"] is None
               for metrics in found.values())
    target = read_version(Run(layout), ORIGINAL).target
    assert found["loss_threshold"]["auc"] == auc(loss_score(target.losses), target.member)
    table = next(table for table in tables.build(evidence.read(Run(layout))) if table.name == "C1")
    assert "ACC (%)" not in table.blocks and "no shadow model" in table.caption
    assert table.blocks[short("correctness")]["ACC (%)"].tolist() == ["-"]
    with pytest.raises(CompLeakError, match="SR is fitted on shadow models and .* holds none"):
        CompLeakSR.main([*OWN, "--original", "--compress", "--compress_name", "pruning", "--compress_degree", "0.6",
                         "--run_dir", str(layout.run_dir)])


def test_unequal_numbers_are_cut_and_said(source, tmp_path, capsys):
    outputs = export(source, tmp_path / "outputs", (ORIGINAL,), all_rows=False, worlds=1)
    path = outputs / "original" / "target.npz"
    with np.load(path) as saved:
        kept = np.cumsum(~saved["member"]) <= 30
        arrays = {name: saved[name][kept | saved["member"]] for name in saved.files}
    np.savez(path, **arrays)
    layout = imported(outputs, tmp_path / "audit")
    assert "30 members and 30 non-members are scored, cut to equal numbers from 100 and 30" in capsys.readouterr().out
    first = read_version(Run(layout), ORIGINAL).target
    assert first.member.sum() == (~first.member).sum() == 30
    again = read_version(Run(imported(outputs, tmp_path / "again")), ORIGINAL).target
    assert np.array_equal(first.index, again.index)


def test_versions_may_cover_other_rows_and_those_that_all_have_are_scored(tmp_path, capsys):
    both, ours = answers(n=120), {}
    for name, rows, scored in (("original", slice(0, 100), slice(0, 90)), ("int4", slice(20, 120), slice(0, 120))):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        ours[name] = {key: values[rows] for key, values in both.items()}
        may = np.isin(ours[name]["index"], np.arange(120)[scored])
        np.savez(tmp_path / "outputs" / name / "target.npz", **ours[name], scored=may)
    layout = imported(tmp_path / "outputs", tmp_path / "audit")
    said, run = capsys.readouterr().out, Run(layout)
    assert np.array_equal(np.sort(np.concatenate([run.split.target.members, run.split.target.non_members])),
                          np.arange(20, 90))
    assert "120 rows asked in all, 40 of them not of every version" in said
    for version, name in ((ORIGINAL, "original"), (Version("int4", ""), "int4")):
        read = read_version(run, version).target
        assert np.array_equal(read.logits, both["logits"][read.index].astype(np.float32))
        assert len(run.queries(version, "target").index) == 100, name


def test_another_audit_in_the_same_folder_is_refused_and_harms_nothing(source, tmp_path):
    layout = imported(export(source, tmp_path / "one", (ORIGINAL,)), tmp_path / "audit")
    before = {path: path.read_bytes() for path in layout.run_dir.rglob("*") if path.is_file()}
    with pytest.raises(CompLeakError, match="already holds an audit"):
        imported(export(source, tmp_path / "two", all_rows=False), tmp_path / "audit")
    assert {path: path.read_bytes() for path in layout.run_dir.rglob("*") if path.is_file()} == before


def answers(n=60, first=0, **changes):
    rng = np.random.default_rng(first)
    return {"logits": rng.normal(size=(n, 3)), "labels": rng.integers(3, size=n), "index": np.arange(first, first + n),
            "member": np.arange(n) < n // 2, **changes}


@pytest.mark.parametrize(("files", "says"), [
    ({}, "holds no models: put answers into"),
    ({"a b/target": answers()}, "a b: a version called 'a b': choose letters and digits"),
    ({"original/shadow_0": answers()}, "holds shadow_0; it must hold target.npz"),
    ({"original/target": answers(), "original/shadow_1": answers(first=60)}, "holds shadow_1, target; it must hold"),
    ({"original/target": answers(), "pruning_0.6/target": answers(logits=np.eye(4)[[0] * 60])}, "posteriors"),
    ({"original/target": answers(), "pruning_0.6/target": answers(logits=-5 * np.eye(4)[[0] * 60])}, "4 classes, but"),
    ({"original/target": answers(), "pruning_0.6/target": answers(member=np.arange(60) < 20)},
     "pruning_0.6/target.npz: member of index 20 is not that of another version"),
    ({"original/target": answers(), "pruning_0.6/target": answers(labels=np.zeros(60, int))}, "labels of index "),
    ({"original/target": answers(), "int4/target": answers(first=60)}, "0 members and 0 non-members can be scored"),
    ({"original/target": answers(), "original/shadow_0": answers(first=60), "pruning_0.6/target": answers()},
     "give every version the same worlds"),
    ({"original/target": answers(), "original/shadow_0": answers(labels=np.zeros(60, int))}, "different labels"),
    ({"original/target": answers(member=np.arange(60) < 5)}, "5 members and 55 non-members can be scored, at least 10"),
])
def test_folders_that_do_not_fit_are_one_line(tmp_path, files, says):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    for name, arrays in files.items():
        (outputs / name).parent.mkdir(exist_ok=True)
        np.savez(outputs / f"{name}.npz", **arrays)
    with pytest.raises(CompLeakError, match=re.escape(says)) as caught:
        imported(outputs, tmp_path / "audit")
    assert "\n" not in str(caught.value) and not (tmp_path / "audit").exists()


def test_names_that_contradict_each_other_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="there is no such folder"):
        imported(tmp_path / "nowhere", tmp_path)
    with pytest.raises(UsageError, match="--dataset_name own --model_name model"):
        nr(["--dataset_name", "own"], tmp_path)
    with pytest.raises(CompLeakError, match="run python CompLeakAudit.py --outputs FOLDER"):
        nr(OWN, tmp_path)
