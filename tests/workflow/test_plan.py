"""Configurations as command lines: the appendix's, word for word, and what cannot be run is refused in one line."""
import copy
import shlex

import pytest
import yaml

from common.paths import ORIGINAL, Layout
from models.compression import TECHNIQUES, paper_versions
from workflow import plan


@pytest.fixture
def configured(root):
    """configured(name, **changes) → the configuration of workflow/<name>.yaml over the defaults."""

    def read(name, **changes):
        config = yaml.safe_load((root / "workflow/defaults.yaml").read_text())
        for source in (yaml.safe_load((root / f"workflow/{name}.yaml").read_text()), changes):
            for key, value in source.items():
                config[key] = {**config[key], **value} if isinstance(value, dict) else value
        return copy.deepcopy(config)

    return read


def flags(command):
    """{flag: its words} of a command line; words before the first flag stand under ''."""
    found, name = {"": []}, ""
    for word in shlex.split(command):
        if word.startswith("--"):
            found[name := word] = []
        else:
            found[name].append(word)
    return found


def test_cifar10_is_the_appendix_run(configured):
    config = configured("cifar10")
    train = flags(plan.train(config, 0, "all"))
    assert train[""] == ["train.py"] and train["--dataset_name"] == ["cifar10"] and train["--num_cls"] == ["10"]
    assert (train["--lr"], train["--epochs"], train["--batch_size"]) == (["0.1"], ["100"], ["128"])
    assert train["--protocol"] == ["sound"]
    assert train["--train_size"] == ["20000"] and "--augment" in train and "--no-sensitivity" not in train
    prune, int8, cluster = (flags(plan.compress(config, 0, technique, "all")) for technique in plan.techniques(config))
    assert prune["--prune_epochs"] == int8["--quantized_epochs"] == cluster["--epochs"] == ["30"]
    assert [float(each["--lr"][0]) for each in (prune, int8, cluster)] == [1e-3, 1e-3, 1e-5]
    assert prune["--prune_sparsity"] == ["0.6", "0.7", "0.8", "0.9"] and cluster["--bit"] == ["2", "3", "4"]
    assert int8["--degree"] == ["int8"]


def test_the_cpu_configuration_is_the_smaller_run(configured):
    config = configured("cifar10-cpu", data_dir="my pictures")
    train = flags(plan.train(config, 2, "all"))
    assert config["seeds"] == [0, 1, 2] and train["--seed"] == ["2"] and train["--data_dir"] == ["my pictures"]
    assert (train["--train_size"], train["--lr"], train["--epochs"]) == (["5000"], ["0.02"], ["40"])
    assert train["--query_rows"] == ["scored"]
    for technique in plan.techniques(config):
        command = flags(plan.compress(config, 0, technique, "all"))
        assert command[TECHNIQUES[technique].epochs_flag] == ["10"] and command["--data_dir"] == ["my pictures"]


def test_the_defaults_name_the_eight_versions_and_their_real_places(configured):
    config = configured("demo")
    layout = Layout("demo", "digits", "resnet18")
    left = [(None, ORIGINAL)] + [(v.technique, v) for v in paper_versions() if v.technique]
    for technique, version in left:
        assert str(layout.file(version, "*", "queries.npz")) in [
            f"demo/{pattern}" for pattern in plan.models_left(config, technique, "all")]
    named = {pattern for t in ["original", *plan.techniques(config)] for pattern in plan.results_left(config, "NR", t)}
    assert {f"demo/{pattern}" for pattern in named if pattern.endswith(".json")} == {
        str(layout.result(version, "NR.json")) for version in paper_versions()}
    assert f"demo/{plan.combined_left(config, 'tables/C1.csv')[0]}" == str(layout.tables / "C1.csv")


def test_attacks_name_their_models(configured):
    config = configured("demo", NR={"flags": "--rmia_a auto"})
    original = flags(plan.attack(config, 0, "NR", "original"))
    assert "--original" in original and "--compress" not in original and original["--rmia_a"] == ["auto"]
    nr, sr = (flags(plan.attack(config, 0, setting, "clustering")) for setting in ("NR", "SR"))
    assert nr["--compress_degree"] == sr["--compress_degree"] == ["4", "8", "16"]
    assert "--original" not in nr and "--original" in sr
    assert flags(plan.report(config, [0]))["--run_dir"] == ["demo"]
    shown = configured("cifar10", data_dir="pictures")
    assert flags(plan.report(shown, [0]))["--data_dir"] == ["pictures"]


@pytest.mark.parametrize("size, names", [(0, ["all"]), (1, ["target", "shadow_0", "shadow_1", "shadow_2"]),
                                         (3, ["target-shadow_1", "shadow_2"])])
def test_parts_share_out_every_world_once(configured, size, names):
    config = configured("demo", shadows=3, worlds_per_job=size)
    found = plan.parts(config)
    assert list(found) == names
    if size:
        assert sorted(sum(found.values(), [])) == ["shadow_0", "shadow_1", "shadow_2", "target"]
        assert flags(plan.train(config, 0, names[0]))["--worlds"] == found[names[0]]


def test_a_slot_gets_its_share_of_the_cores(configured):
    assert plan.threads(configured("demo"), 16) == 16
    assert plan.threads(configured("demo", device="cuda", gpus=4, per_gpu=2), 16) == 2
    assert plan.threads(configured("demo", device="cuda", gpus=4), 2) == 1
    assert plan.threads(configured("demo", threads=3), None) == 3


@pytest.mark.parametrize("change, word", [
    ({"epochs": 5}, "epochs"), ({"train": {"epoch": 5}}, "epoch"), ({"seeds": []}, "seeds"), ({"seeds": "a"}, "seeds"),
    ({"seeds": [1, 1]}, "seeds"), ({"seeds": [0, 1], "run_dir": "demo"}, "{seed}"), ({"device": "gpu"}, "device"),
    ({"device": "cpu", "gpus": 2}, "gpus"), ({"worlds_per_job": -1}, "worlds_per_job"), ({"shadows": 0}, "shadows")])
def test_what_cannot_be_run_is_refused_in_one_line(configured, change, word):
    config = configured("cifar10")
    plan.check(config, 2)
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=word) as caught:
        plan.check(config, 2)
    assert "\n" not in str(caught.value)


def test_switches_may_come_as_words(configured):
    words = configured("demo", augment="False", report="true")
    assert plan.read_switches(words) == {"augment": False, "sensitivity": True, "multi": True, "claims": True,
                                         "report": True}
    with pytest.raises(ValueError, match="multi=no: choose true or false"):
        plan.read_switches(configured("demo", multi="no"))


def test_a_cluster_needs_the_number_of_threads(configured):
    with pytest.raises(ValueError, match="threads=8"):
        plan.check(configured("cifar10"), None)
    plan.check(configured("cifar10", threads=8), None)
