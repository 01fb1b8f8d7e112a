"""Configurations as command lines: the appendix's, word for word, and what cannot be run is refused in one line."""
import copy
import shlex

import pytest
import yaml

from common.paths import ORIGINAL, Layout
from models.compression import TECHNIQUES, paper_versions
from models.compression.technique import Technique
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


def test_where_members_are_shown_through_crops_every_model_leaves_their_answers(configured):
    for protocol, left in (("sound", False), ("interpolated_tpr", False), ("released", True)):
        files = plan.models_left({**configured("demo"), "protocol": protocol}, "quantization", "all")
        assert any(file.endswith("int8/*/crops.npz") for file in files) == left


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
    ({"device": "cpu", "gpus": 2}, "gpus"), ({"worlds_per_job": -1}, "worlds_per_job"), ({"shadows": 0}, "shadows"),
    ({"pruning": {"degrees": [1.5]}}, "pruning: degrees 1.5: for pruning choose a sparsity above 0 and below 1"),
    ({"quantization": {"degrees": ["int4"]}}, "quantization: degrees int4: for quantization choose int8"),
    ({"clustering": {"degrees": [4, 5]}}, "clustering: degrees 5: for clustering choose a number of centroids"),
    ({"clustering": {"degrees": [None]}}, "clustering: degrees None"),
    ({"pruning": {"degrees": 0.6}}, r"pruning: degrees=0.6: choose a list, such as degrees: \[0.6\]"),
    ({"pruning": {"degrees": "0.6"}}, "choose a list"), ({"pruning": {"degrees": None}}, "choose a list"),
    ({"pruning": {"degrees": [0.6, "0.60"]}}, "one stands there twice"),
    ({"pruning": {"degrees": []}, "quantization": {"degrees": []}, "clustering": {"degrees": []}}, "no technique has"),
    ({"clustering": {"degrees": [4]}}, "multi=true needs the paper's versions, .* leave out clustering_8, clust"),
    ({"pruning": {"lr": 0}}, "pruning: lr=0"), ({"train": {"epochs": 2.5}}, "train: epochs=2.5: choose a whole number"),
    ({"train": {"epochs": True}}, "train: epochs=True"), ({"train": 5}, "train=5"), ({"train": None}, "train=None"),
    ({"run_dir": "runs/{name}"}, "run_dir='runs/{name}': choose text without braces but for {seed}"),
    ({"run_dir": "runs/}"}, "without braces"), ({"run_dir": ""}, "run_dir is empty"), ({"run_dir": 5}, "run_dir=5: ch"),
    ({"data_dir": "my {pictures}"}, "data_dir='my {pictures}': choose text without braces"),
    ({"data_label": ["a"]}, "data_label=.*choose text"), ({"python": "nice {x}"}, "python=.*without braces"),
    ({"NR": {"flags": "--rmia_a 'auto"}}, "NR: flags=.*no closing quotation"), ({"SR": {"flags": "{x}"}}, "SR: flags="),
    ({"dataset": "mnist"}, "dataset=mnist: choose cifar10, "), ({"dataset": ["digits"]}, "dataset="),
    ({"dataset": "imagefolder"}, "dataset=imagefolder: it needs data_dir=FOLDER"),
    ({"model": "vgg"}, "model=vgg: choose resnet18, "),
    ({"protocol": "loud"}, "protocol=loud: there is no choice 'loud'"),
    ({"protocol": ["sound"]}, "protocol=.*one word"), ({"protocol": None}, "protocol=None: choose one word"),
    ({"protocol": "augmented_members", "augment": False}, "protocol=augmented_members: .* choose augment=true"),
    ({"amp": "on"}, "amp=on: choose auto or off"),
    ({"query_rows": "some"}, "query_rows=some: choose auto, all or scored"),
    ({"train_size": "many"}, "train_size=many"), ({"model": "vgg\n"}, r"model=vgg\\n: choose"),
    ({"image_size": 7}, "image_size=7: choose a whole number, 8 or more"),
    ({"batch_size": 1}, "batch_size=1"), ({"num_cls": 1}, "num_cls=1"), ({"retrain": "maybe"}, "retrain=maybe")])
def test_what_cannot_be_run_is_refused_in_one_line(configured, change, word):
    config = configured("cifar10")
    plan.check(config, 2)
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=word) as caught:
        plan.check(config, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [
    {"clustering": {"degrees": [4]}, "multi": "false"}, {"pruning": {"degrees": [], "epochs": None}, "multi": False},
    {"pruning": {"lr": "1e-3"}}, {"num_cls": None}, {"data_dir": "my pictures"}, {"protocol": "released"},
    {"model": "mobilenetv2"}, {"dataset": "imagefolder", "data_dir": "x", "data_label": "it's"}])
def test_what_can_be_run_passes(configured, change):
    plan.check(configured("cifar10", **change), 2)


def test_a_degree_has_one_spelling_in_every_path_and_command(configured):
    config = configured("cifar10", pruning={"degrees": ["0.60", 0.7, ".8", 0.9]})
    plan.check(config, 2)
    assert plan.results_left(config, "NR", "pruning")[0] == "results_pruning/cifar10_resnet18_0.6/NR.json"
    assert flags(plan.attack(config, 0, "NR", "pruning"))["--compress_degree"] == ["0.6", "0.7", "0.8", "0.9"]
    assert flags(plan.compress(config, 0, "pruning", "all"))["--prune_sparsity"] == ["0.6", "0.7", "0.8", "0.9"]


def test_a_technique_without_a_section_may_have_one_in_a_configuration(configured, monkeypatch):
    class Half(Technique):
        name, script, degree_flag, epochs_flag = "half", "half.py", "--precision", "--epochs"
        degrees = allowed = ("float16",)

    monkeypatch.setitem(TECHNIQUES, "half", Half())
    config = configured("cifar10")
    plan.check(config | {"multi": False}, 2)
    assert "half" not in plan.techniques(config)
    config |= {"half": {"epochs": 2, "lr": 0.1, "degrees": ["float16"]}}
    plan.check(config, 2)
    assert plan.techniques(config)[-1] == "half"
    assert flags(plan.compress(config, 0, "half", "all"))["--precision"] == ["float16"]
    with pytest.raises(ValueError, match="half: epochs=None: choose a whole number above 0"):
        plan.check(config | {"half": {"lr": 0.1, "degrees": ["float16"]}}, 2)
    with pytest.raises(ValueError, match="configuration half="):
        plan.check(config | {"half": {"epoch": 2}}, 2)


def test_onnx_int8_is_a_stage_that_trains_nothing_and_leaves_the_file_that_is_published(configured):
    config = configured("cifar10", worlds_per_job=1, ptq={"degrees": ["onnx-int8", "onnx-int8-float-logits"]})
    plan.check(config, 2)
    assert plan.techniques(config) == ["pruning", "quantization", "clustering", "ptq"]
    command = flags(plan.compress(config, 0, "ptq", "target"))
    assert command[""] == ["quantization/ptq.py"] and command["--degree"] == ["onnx-int8", "onnx-int8-float-logits"]
    assert command["--worlds"] == ["target"] and not {"--lr", "--epochs"} & command.keys()
    left = plan.models_left(config, "ptq", "target")
    assert "results_ptq/cifar10_resnet18_onnx-int8/target/model.onnx" in left
    attack = flags(plan.attack(config, 0, "SR", "ptq"))
    assert attack["--compress_name"] == ["ptq"] and attack["--compress_degree"] == command["--degree"]
    for change, word in (({"degrees": ["int8"]}, "ptq: degrees int8: for ptq choose onnx-int8"),
                         ({"epochs": 5}, "configuration ptq=")):
        with pytest.raises(ValueError, match=word):
            plan.check(config | {"ptq": {"degrees": [], **change}}, 2)


def test_the_field_runs_every_kind_of_pruning_on_a_network_at_a_size_for_two_cores(configured):
    for model in ("vgg16", "mobilenetv2"):
        config = configured("field", model=model)
        plan.check(config, 2)
        train, prune = flags(plan.train(config, 1, "shadow_0")), flags(plan.compress(config, 1, "pruning", "target"))
        assert train["--model_name"] == [model] and train["--train_size"] == ["5000"] and train["--seed"] == ["1"]
        assert (train["--lr"], train["--epochs"], train["--query_rows"]) == (["0.05"], ["60"], ["scored"])
        assert "--no-sensitivity" in train and prune["--prune_epochs"] == ["15"]
        assert prune["--prune_sparsity"] == ["0.9", "1e-07", "gradual-0.9", "channels-0.5"]
        assert flags(plan.several(config, 1))["--attacks"] == ["network", "confidence", "calibrated"]


def test_retrain_is_passed_to_the_stages_that_train_alone(configured):
    for retrain in (False, True):
        config = configured("cifar10", retrain=retrain)
        trains = [plan.train(config, 0, "all"), *(plan.compress(config, 0, t, "all") for t in plan.techniques(config))]
        assert [("--retrain" in flags(command)) for command in trains] == [retrain] * 4
        assert "--retrain" not in plan.attack(config, 0, "NR", "pruning") + plan.report(config, [0])


def test_switches_may_come_as_words(configured):
    words = configured("demo", augment="False", report="true")
    assert plan.read_switches(words) == {"augment": False, "sensitivity": True, "multi": True, "claims": True,
                                         "report": True, "retrain": False, "every_target": False}
    with pytest.raises(ValueError, match="multi=no: choose true or false"):
        plan.read_switches(configured("demo", multi="no"))


def test_a_cluster_needs_the_number_of_threads(configured):
    with pytest.raises(ValueError, match="threads=8"):
        plan.check(configured("cifar10"), None)
    plan.check(configured("cifar10", threads=8), None)
