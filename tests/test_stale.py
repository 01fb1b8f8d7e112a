"""What makes a result stale: each flag, each choice of protocol, each model's answers; and nothing else does."""
import argparse
import ast
import shutil
from dataclasses import fields, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from attacks import classifiers, equals, learned, learners, mr, nr, samia, sr, train_based
from attacks.attack import Context, Options
from attacks.saved import read_multi, read_result
from common.errors import CompLeakError
from common.files import load_arrays, read_json, save_arrays, write_json
from common.paths import ORIGINAL, Version
from models import protocol
from models.run import Run, Settings
from models.training import Recipe

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
VERSIONS = (ORIGINAL, PRUNED, CLUSTERED)
NAMES = ("SAMIA", "metric_based_2", train_based.AGGREGATED, "RMIA", "RMIA (population)", *learned.KNOWLEDGE,
         "LiRA_offline")
IN_SR = [name for name in sr.ATTACKS if name not in equals.ONLINE]  # two shadows and disjoint pools
IN_MR = [row for row in mr.ROWS if row in mr.COLUMNS or mr.EQUALS[row][0] not in equals.ONLINE]

ROOT = Path(__file__).resolve().parent.parent
# A flag that changes what a command computes: its value is part of what the result says it was made from, or of the
# run's settings and models', which other values of it are refused against.
CHANGES_RESULTS = {
    "dataset_name", "model_name", "batch_size", "seed", "protocol", "shadow_num", "lr", "epochs", "data_dir", "amp",
    "train_size", "image_size", "augment", "pools", "pool_size", "degrees", "rmia_a", "sensitivity", "outputs",
    "query_rows", "views", "schedule"}
# Those that no settings of a run, a model or an attack record: they choose the folder, or what a file of answers holds.
ELSEWHERE = {"dataset_name", "model_name", "degrees", "schedule", "sensitivity", "query_rows", "views"}
# A flag that says where, what, or how, and changes no number.
CHANGES_NOTHING = {
    "help", "run_dir", "num_cls", "device", "data_label", "worlds", "retrain", "original", "compress", "compress_name",
    "compress_degree", "attacks", "choices", "versions", "retrained", "cache_dir",
    # of workflow/ and benchmarks/, and of pages made from committed numbers
    "reference", "out", "page", "samia", "lay_out", "accept", "mark", "left", "alone", "cpu", "gpus", "per_gpu",
    "python", "command", "shadows", "seeds", "worlds_per_job", "results"}


class Captured(Exception):
    pass


def commands():
    """The names of all modules with a main(argv), and of the one that every benchmark calls."""
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.parent.name != "tests" and any(
                isinstance(node, ast.FunctionDef) and node.name == "main" and node.args.args[0].arg == "argv"
                for node in tree.body):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)
    yield "benchmarks.common"


@pytest.mark.parametrize("command", list(commands()))
def test_every_flag_is_known_to_change_results_or_nothing(command, monkeypatch):
    def capture(self, *args):
        raise Captured(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", capture)
    module = import_module(command)
    with pytest.raises(Captured) as caught:
        module.main([]) if hasattr(module, "main") else module.benchmark("", None, ())
    flags = {action.dest for action in caught.value.args[0]._actions}
    assert flags <= CHANGES_RESULTS | CHANGES_NOTHING and flags > {"help"}


def test_a_flag_that_changes_results_is_recorded():
    recorded = {field.name for one in (Settings, Recipe, Options) for field in fields(one)}
    assert not CHANGES_RESULTS & CHANGES_NOTHING
    assert {"bfloat16" if name == "amp" else name for name in CHANGES_RESULTS - ELSEWHERE} <= recorded


@pytest.mark.parametrize(("option", "value", "moved"), [
    ("batch_size", 64, {"SAMIA"}), ("rmia_a", 0.3, {"RMIA", "RMIA (population)"})])
def test_an_option_makes_stale_what_depends_on_it_and_nothing_else(option, value, moved):
    context, other = Context(0), Context(0, options=replace(Options(), **{option: value}))
    every = {**nr.ATTACKS, **sr.ATTACKS, **{row: mr.attack_of(f"any, {row}") for row in mr.ROWS}}
    assert {name for name, one in every.items() if one.inputs({}, context) != one.inputs({}, other)} == moved


@pytest.fixture(scope="module")
def attacked(made_up, tmp_path_factory):
    """A run of four versions with NR, SR and MR, not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "TREES", 40)
        patch.setattr(samia, "train_samia", partial(samia.train_samia, epochs=1))
        patch.setattr(learned, "learn", partial(learners.learn, kinds=["logistic"]))
        layout = made_up.run(tmp_path_factory.mktemp("stale") / "run", [PRUNED, CLUSTERED, mr.INT8], leak=1.0, n=600,
                             shadow_num=2)
        run, context = Run(layout), Context(0)
        for version in VERSIONS:
            nr.attack_version(run, version, context, NAMES)
            if version != ORIGINAL:
                sr.attack_version(run, version, context)
        mr.attack_groups(run, context, {"both": [PRUNED, CLUSTERED]})
        yield layout


@pytest.fixture
def run(attacked, tmp_path):
    """A copy of that run."""
    shutil.copytree(attacked.run_dir, tmp_path / "run")
    return Run(replace(attacked, run_dir=tmp_path / "run"))


def current(run):
    """{(setting, version, attack)} of every result that holds for whoever opens the run now."""
    run, found = Run(run.layout), set()
    for setting, versions in (("NR", VERSIONS), ("SR", VERSIONS[1:])):
        for version in versions:
            try:
                values = read_result(run, setting, version) or {"attacks": ()}
            except CompLeakError:
                continue
            found |= {(setting, str(version), attack) for attack in values["attacks"]}
    try:
        found |= {("MR", "both", attack) for attack in read_multi(run)["attacks"]}
    except CompLeakError:
        pass
    return found


REPEATED = {("NR", str(ORIGINAL), train_based.AGGREGATED_TWICE)}  # of NR, what MR of the original repeated is made from


def everything():
    found = {("NR", str(version), name) for version in VERSIONS for name in NAMES} | REPEATED
    found |= {("SR", str(version), name) for version in VERSIONS[1:] for name in IN_SR}
    return found | {("MR", "both", f"both, {row}") for row in IN_MR}


def rewrite(path, change):
    arrays, meta = load_arrays(path)
    save_arrays(path, {name: value for name, value in meta.items() if name != "format"}, **{**arrays, **change(arrays)})


def test_nothing_is_stale_where_nothing_changed(run):
    assert current(run) == everything()


@pytest.mark.parametrize("world", ["target", "shadow_0"])
@pytest.mark.parametrize("version", [*VERSIONS, mr.INT8], ids=str)
def test_one_models_answers_decide_what_was_made_from_them_and_nothing_else(run, version, world):
    rewrite(run.layout.file(version, world, "queries.npz"),
            lambda arrays: {"logits": arrays["logits"] + np.float32(1e-3) * (arrays["index"] == 7)[:, None]})
    stale = {("NR", str(version), name) for name in NAMES}
    if version == ORIGINAL:
        stale |= {(setting, model, name) for setting, model, name in everything() if setting == "SR"}
        stale |= {("MR", "both", f"both, {row}") for row in IN_MR if row.endswith((mr.WITH, mr.REPEATED))} | REPEATED
    else:
        stale |= {("SR", str(version), name) for name in IN_SR}
        read = [one for one in everything() if one[0] == "MR" and not one[2].endswith(mr.REPEATED)]
        stale |= set(read) if version != mr.INT8 else set()
    assert current(run) == everything() - stale


def row_of(one):
    """The row of an MR result, None of another."""
    return one[2].rsplit(", ", 1)[1] if one[0] == "MR" else None


EXPECTED_STALE = {
    "best_epoch": lambda one: True, "l2_term": lambda one: True,  # other models, which are not there
    "augmented_members": lambda one: True, "interpolated_tpr": lambda one: True,
    "best_attack_epoch": lambda one: row_of(one) in mr.COLUMNS or one[2] == "SAMIA",
    "int8_shadow": lambda one: row_of(one) in mr.AGGREGATED,
    "in_sample_forests": lambda one: row_of(one) in mr.COLUMNS, "plain_inputs": lambda one: row_of(one) in mr.COLUMNS,
    "samia_l2_term": lambda one: one[2] == "SAMIA",
    "rmia_population": lambda one: one[2] == "RMIA (population)"}


@pytest.mark.parametrize("choice", protocol.CHOICES)
def test_a_choice_of_protocol_makes_stale_what_it_moves_and_nothing_else(run, choice):
    saved = read_json(run.path)
    write_json(run.path, {**saved, "run": {**saved["run"], "protocol": choice}})
    assert current(run) == {one for one in everything() if not EXPECTED_STALE[choice](one)}


def test_a_further_shadow_makes_everything_stale(made_up_run, monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 40)
    monkeypatch.setattr(learned, "learn", partial(learners.learn, kinds=["logistic"]))
    context, layout = Context(0), made_up_run([], n=600, shadow_num=2, folder="two")
    run = Run(layout)
    nr.attack_version(run, ORIGINAL, context, NAMES, shadow_num=1)
    assert read_result(Run(layout), "NR", ORIGINAL) is None
    nr.attack_version(run, ORIGINAL, context, NAMES)
    assert set(read_result(Run(layout), "NR", ORIGINAL)["attacks"]) == set(NAMES)


def test_a_cached_mr_does_not_survive_another_int8_model_that_it_was_made_with(run):
    context = replace(Context(0), choices=frozenset({"int8_shadow"}))
    before = mr.made_from(run, [PRUNED, CLUSTERED], "without the original", context)
    rewrite(run.layout.file(mr.INT8, "shadow_0", "queries.npz"), lambda arrays: {"logits": 2 * arrays["logits"]})
    assert mr.made_from(Run(run.layout), [PRUNED, CLUSTERED], "without the original", context) != before
