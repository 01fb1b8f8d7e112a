"""models/record.py: what is said of a model that learned nothing, in training and before every attack."""
import os
import sys
from functools import partial

import numpy as np
import pytest

import CompLeakNR
import CompLeakSR
import train
from attacks import classifiers, mr, mr_network
from common import command
from common.files import read_json
from common.paths import ORIGINAL, Layout, Version
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.record import at_chance, differ, learned_nothing

DIGITS = ["--dataset_name", "digits", "--device", "cpu", "--amp", "off", "--query_rows", "scored", "--no-sensitivity",
          "--image_size", "8", "--train_size", "40", "--batch_size", "20"]
PRUNED = [Version("pruning", "0.6"), Version("clustering", "4")]


@pytest.fixture
def toy(monkeypatch):
    """resnet18 with few channels."""
    monkeypatch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy"))


@pytest.mark.parametrize(("right", "scored", "classes", "chance"), [
    (17, 100, 10, True), (18, 100, 10, True), (19, 100, 10, False), (10, 100, 10, True), (0, 100, 10, True),
    (100, 100, 10, False), (1100, 10000, 10, False), (1050, 10000, 10, True), (60, 100, 2, True), (63, 100, 2, False)])
def test_chance_is_a_binomial_test_at_1_percent(right, scored, classes, chance):
    # P(18 or more of 100 at 0.1) = 0.0100 and P(19 or more) = 0.0046; P(62 or more of 100 at 0.5) = 0.0105.
    assert at_chance({"accuracy_in": right / scored}, classes, scored) is chance


def test_guessing_models_are_at_chance_99_times_in_100():
    right = np.random.default_rng(0).binomial(500, 0.1, size=2000)
    found = np.mean([at_chance({"accuracy_in": one / 500}, 10, 500) for one in right])
    assert 0.985 < found < 0.998


def test_accuracies_differ_beyond_chance():
    assert differ(0.5, 0.7, 100) and not differ(0.5, 0.6, 100) and differ(0.5, 0.6, 1000) and not differ(1.0, 1.0, 100)


@pytest.mark.parametrize(("accuracy", "loss", "warns"), [(0.1, 2.3, True), (0.9, 0.3, False), (0.5, 3.2, False),
                                                         (0.5, 3.4, True), (0.9, None, False), (0.1, None, True)])
def test_the_warning_names_the_likely_cure(accuracy, loss, warns):
    config = {"accuracy_in": accuracy, "settings": {"lr": 0.1}} | ({} if loss is None else {"loss_in": loss})
    line = learned_nothing("original target", config, 10, 200)
    assert (line is not None) == warns
    if warns:
        assert "original target learned nothing" in line and "try --lr 0.01" in line and "\n" not in line


@pytest.mark.parametrize(("lr", "loss", "cure"), [(1e-5, 2.31, "--lr 0.0001,"), (1e-5, 9.0, "--lr 1e-06,"),
                                                  (0.01, 2.31, "--lr 0.001,")])
def test_a_rate_that_moved_nothing_is_to_rise(lr, loss, cure):
    config = {"accuracy_in": 0.1, "loss_in": loss, "settings": {"lr": lr}}
    assert f"try {cure}" in learned_nothing("original target", config, 10, 200)


def test_training_warns_at_its_end_and_only_where_nothing_was_learned(tmp_path, toy, capsys):
    train.main([*DIGITS, "--epochs", "2", "--lr", "20", "--run_dir", str(tmp_path / "bad")])
    said = capsys.readouterr().out
    assert "warning: original target learned nothing" in said and "--lr 2," in said
    config = read_json(Layout(tmp_path / "bad", "digits", "resnet18").file(ORIGINAL, "target", "config.json"))
    assert config["loss_in"] > np.log(10)
    train.main([*DIGITS, "--epochs", "30", "--lr", "0.05", "--no-augment", "--run_dir", str(tmp_path / "good")])
    assert "learned nothing" not in capsys.readouterr().out


def test_attacks_say_that_there_is_nothing_to_find(made_up_run, edit_json, monkeypatch, capsys):
    monkeypatch.setattr(classifiers, "TREES", 20)
    monkeypatch.setattr(mr, "run_groups", lambda run: {"pair": PRUNED})
    # One attack a command: which ones are run does not matter to what is said.
    monkeypatch.setattr(mr, "attack_groups", partial(mr.attack_groups, rows=[mr.WITH]))
    monkeypatch.setattr(mr_network, "train_multi", partial(mr_network.train_multi, epochs=1))
    one = {CompLeakNR.main: ["--attacks", "loss_threshold"], CompLeakSR.main: ["--attacks", "SR2 (RF)"]}
    layout = made_up_run(PRUNED, leak=2.0, n=600)
    shared = ["--dataset_name", "digits", "--device", "cpu", "--run_dir", str(layout.run_dir)]

    def said(main, *words):
        main([*shared, *words, *one.get(main, [])])
        return [line for line in capsys.readouterr().out.splitlines() if "nothing to find" in line]

    pairs = [["--compress", "--compress_name", version.technique, "--compress_degree", version.degree]
             for version in PRUNED]
    assert not said(CompLeakNR.main, "--original")
    edit_json(layout.file(ORIGINAL, "target", "config.json"), accuracy_in=0.1)
    line = "original: target at chance: nothing to find (accuracy 10.00% on members)"
    assert said(CompLeakNR.main, "--original") == [line] and not said(CompLeakNR.main, *pairs[0])
    for pair in pairs:
        assert said(CompLeakSR.main, "--original", *pair) == [line]
    assert said(mr.main) == [line]


def test_a_closed_pipe_stops_no_training(tmp_path, toy, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", buffering=1) as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        with pytest.raises(SystemExit) as stop:
            command.run(train.main, [*DIGITS, "--epochs", "1", "--run_dir", str(tmp_path)])
        assert sys.stdout is nobody
    assert stop.value.code == 141
    for world in ("target", "shadow_0"):
        assert Layout(tmp_path, "digits", "resnet18").file(ORIGINAL, world, "queries.npz").exists()
