"""workflow/eight.yaml: every model the target once, at a toy's size from training to claims, either kind of pools."""
import importlib
import shlex

import pytest
import yaml

from attacks import learned, learners
from common.files import read_json
from common.paths import ORIGINAL, Layout, Version
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.run import Run
from workflow import plan

PRUNED, CONTROL, INT8 = Version("pruning", "0.6"), Version("pruning", "1e-07"), Version("quantization", "int8")


@pytest.fixture
def eight(root):
    """The configuration of workflow/eight.yaml."""
    config = yaml.safe_load((root / "workflow/defaults.yaml").read_text())
    for key, value in yaml.safe_load((root / "workflow/eight.yaml").read_text()).items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    return config


def call(command):
    """Run a command of the plan in this process."""
    words = shlex.split(command)
    module, words = (words[1], words[2:]) if words[0] == "-m" else (words[0], words[1:])
    importlib.import_module(module.removesuffix(".py").replace("/", ".")).main(words)


def test_the_configuration_is_the_one_that_its_page_describes(eight):
    plan.check(eight, 2)
    train = shlex.split(plan.train(eight, 0, "shadow_7"))
    for words in (["--pools", "shared", "--pool_size", "4000"], ["--train_size", "2000"], ["--shadow_num", "8"],
                  ["--model_name", "resnet18_half"], ["--worlds", "shadow_7"]):
        at = train.index(words[0])
        assert train[at:at + len(words)] == words
    assert plan.targets(eight) == ["", *(f"/as_shadow_{i}" for i in range(8))]
    assert plan.results_left(eight, "MR") == [f"results/cifar10_resnet18_half/MR{ending}"
                                              for ending in (".json", "_scores.npz")]
    assert plan.attack(eight, 3, "SR", "pruning", "/as_shadow_2").split(" --run_dir ")[1].startswith(
        "runs/eight/seed_3/as_shadow_2 ")
    apart = plan.train({**eight, "pools": "disjoint", "pool_size": None}, 0, "target")
    assert "--pool" not in apart and "as_" not in plan.module(eight, [0], "evaluation.tables")
    assert len(shlex.split(plan.claims(eight, [0, 1])[plan.claims(eight, [0, 1]).index("--run_dir"):])) == 1 + 18
    with pytest.raises(ValueError, match="multi=true needs the paper's versions.* or give MR flags"):
        plan.check({**eight, "MR": {"flags": ""}}, 2)
    for name, value in (("pools", "common"), ("pool_size", 1), ("every_target", "some")):
        with pytest.raises(ValueError, match=f"^{name}={value}: choose"):
            plan.check({**eight, name: value}, 2)


@pytest.mark.parametrize("pools", ["disjoint", "shared"])
def test_a_toy_of_it_reaches_claims_and_tables(eight, tmp_path, monkeypatch, pools):
    toy = Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy")
    monkeypatch.setitem(NETWORKS, "resnet18_half", toy)
    monkeypatch.setattr(learned, "learn", lambda *given, **more: learners.learn(*given, **more, kinds=["logistic"]))
    config = {**eight, "run_dir": str(tmp_path / "seed_{seed}"), "dataset": "digits", "image_size": 8, "augment": False,
              "shadows": 3, "train_size": 150, "pool_size": 300, "batch_size": 50, "pools": pools, "worlds_per_job": 0,
              "train": {"epochs": 2, "lr": 0.05}, "pruning": {"epochs": 1, "lr": 0.001, "degrees": ["0.6", "1e-7"]},
              "quantization": {"epochs": 1, "lr": 0.001, "degrees": ["int8"]}, "amp": "off",
              "clustering": {**eight["clustering"], "degrees": []}}
    plan.check(config, 2)
    call(plan.train(config, 0, "all"))
    for technique in plan.techniques(config):
        call(plan.compress(config, 0, technique, "all"))
    for target in plan.targets(config):
        for models in ("original", *plan.techniques(config)):
            call(plan.attack(config, 0, "NR", models, target))
        for technique in plan.techniques(config):
            call(plan.attack(config, 0, "SR", technique, target))
        call(plan.several(config, 0, target))
    call(plan.claims(config, [0]))
    call(plan.module(config, [0], "evaluation.tables"))
    call(plan.report(config, [0]))
    layout = Layout(tmp_path / "seed_0", "digits", "resnet18_half")
    saved, run = read_json(layout.result(ORIGINAL, "claims.json")), Run(layout)
    assert run.versions() == [ORIGINAL, PRUNED, CONTROL, INT8]
    assert [one["name"] for one in saved["runs"]] == ["0", "0 (shadow_0)", "0 (shadow_1)", "0 (shadow_2)"]
    assert {one["pools"] for one in saved["runs"]} == {pools}
    for setting in ("NR", "SR", "MR"):
        assert len(saved["best"][setting]["tpr_1"]["per_seed"]) == 4 and saved["best"][setting]["auc"]["over_seeds"]
    pool = {row for world in run.split.worlds for rows in (world.members, world.non_members) for row in rows.tolist()}
    assert len(pool) == (300 if pools == "shared" else 600)
    said = "pools shared, so every model drew its members from the same 300 pictures"
    assert (said in (layout.tables / "C1.md").read_text()) == (pools == "shared")
    for target in plan.targets(config):
        for pattern in (*plan.results_left(config, "NR", "pruning"), *plan.results_left(config, "MR")):
            assert (tmp_path / f"seed_0{target}" / pattern).stat().st_size
