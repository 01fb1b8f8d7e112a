"""models/protocol.py and the choices of the released protocol that change models and queries."""
import tracemalloc

import numpy as np
import pytest
import torch

import train
from attacks import mr, nr, sr
from attacks.attack import Context
from common.errors import UsageError
from common.paths import ORIGINAL, Layout
from models import protocol, stage
from models.best_epoch import PATIENCE, BestEpoch
from models.crops import augmented
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.queries import load_queries
from models.run import Run
from models.training import L2_TERM, Hooks, Recipe
from models.training import train as train_network
from models.weights import read_weights

STATISTICS = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
TINY = ["--dataset_name", "digits", "--device", "cpu", "--amp", "off", "--query_rows", "scored", "--no-sensitivity",
        "--image_size", "8", "--train_size", "40", "--lr", "0.05", "--batch_size", "20"]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy"))


def run(folder, *more):
    train.main([*TINY, "--run_dir", str(folder), *more])
    return Layout(folder, "digits", "resnet18")


def test_names_of_protocols():
    assert protocol.parse("sound") == frozenset()
    assert protocol.parse("released") == set(protocol.CHOICES) and len(protocol.CHOICES) == 10
    assert protocol.parse("l2_term+int8_shadow") == {"l2_term", "int8_shadow"}
    assert protocol.name("int8_shadow+l2_term") == protocol.name("l2_term+int8_shadow") == "l2_term+int8_shadow"
    assert protocol.name("+".join(protocol.CHOICES)) == "released" and protocol.name("sound") == "sound"
    with pytest.raises(UsageError, match="no choice 'best'; choose sound, released, or from best_epoch, l2_term"):
        protocol.parse("l2_term+best")


def test_results_note_only_what_moves_them():
    def noted(attack, text):
        return attack.inputs({}, Context(0, protocol.parse(text)))["protocol"]

    multi = mr.attack_of("all eight, with the original")
    assert noted(multi, "sound") == noted(nr.ATTACKS["RMIA"], "l2_term") == []
    assert noted(sr.ATTACKS["SR2 (RF)"], "released") == ["augmented_members", "interpolated_tpr"]
    assert "rmia_population" in noted(nr.ATTACKS["RMIA (population)"], "released")
    assert {"int8_shadow", "in_sample_forests", "best_attack_epoch"} <= set(noted(multi, "released"))


def test_members_alone_are_augmented_and_every_seed_differs():
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    members = np.array([3, 7, 11, 20, 29])
    one, same, other = (augmented(images, members, seed) for seed in (1, 1, 2))
    rest = np.setdiff1d(np.arange(30), members)
    assert np.array_equal(one[rest], images[rest]) and np.array_equal(one, same)
    assert not np.array_equal(one[members], images[members]) and not np.array_equal(one, other)


def test_augmenting_many_members_takes_little_more_memory_than_the_pictures():
    images = np.zeros((4000, 32, 32, 3), dtype=np.uint8)
    tracemalloc.start()
    augmented(images, np.arange(4000), 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * images.nbytes


def test_the_same_models_queried_with_augmented_members(tmp_path):
    sound = run(tmp_path, "--epochs", "1")
    before = load_queries(sound.file(ORIGINAL, "target", "queries.npz"))
    weights = sound.file(ORIGINAL, "target", "weights.pt").read_bytes()
    run(tmp_path, "--epochs", "1", "--protocol", "augmented_members")
    after = load_queries(sound.file(ORIGINAL, "target", "queries.npz"))
    assert sound.file(ORIGINAL, "target", "weights.pt").read_bytes() == weights
    assert np.array_equal(before.logits[~before.member], after.logits[~after.member])
    changed = (before.logits[before.member] != after.logits[after.member]).any(1)
    assert changed.mean() > 0.9


def test_augmented_members_need_a_training_with_augmentation(tmp_path):
    with pytest.raises(UsageError, match="leave --no-augment out"):
        run(tmp_path, "--epochs", "1", "--protocol", "released", "--no-augment")


def test_later_stages_refuse_another_protocol_than_the_runs(tmp_path):
    from pruning import prune
    run(tmp_path, "--epochs", "1", "--protocol", "augmented_members")
    flags = [flag for flag in TINY if flag not in ("--image_size", "8", "--train_size", "40")]
    with pytest.raises(UsageError, match="--protocol sound: the run in .* has protocol augmented_members"):
        prune.main([*flags, "--run_dir", str(tmp_path), "--protocol", "sound"])


def test_l2_term_is_the_gradient_of_half_the_squared_norm(tmp_path):
    """One step without momentum's history: the weights differ by lr · 5e-5 · w."""
    images = torch.randint(0, 256, (20, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 3
    models = []
    for l2_term in (False, True):
        torch.manual_seed(0)
        model = ResNet(3, widths=(4, 8, 8, 16)).double().to(memory_format=torch.channels_last)
        start = {name: value.clone() for name, value in model.named_parameters()}
        model.float()
        recipe = Recipe(epochs=1, lr=1.0, batch_size=20, augment=False, bfloat16=False, seed=1, l2_term=l2_term)
        train_network(model, images, labels, STATISTICS, recipe, Hooks(), None, tmp_path / "log", "test")
        models.append(dict(model.named_parameters()))
    for name, value in start.items():
        expected = -L2_TERM * value.float()
        assert torch.allclose(models[1][name] - models[0][name], expected, atol=2e-6), name
    moved = max((models[1][name] - models[0][name]).abs().max().item() for name in start)
    assert moved > 2e-5


class Scripted(BestEpoch):
    """BestEpoch whose accuracies are given."""

    def __init__(self, accuracies):
        super().__init__(None, None, None, False, PATIENCE)
        self.given = list(accuracies)

    def accuracy(self, model):
        return self.given.pop(0)


def test_best_epoch_keeps_the_best_and_stops_after_eleven_without_a_better_one():
    model = torch.nn.Linear(1, 1)
    best_epoch, stopped = Scripted([0.1, 0.5, *[0.5] * 20]), []
    for epoch in range(20):
        torch.nn.init.constant_(model.weight, epoch)
        stopped.append(best_epoch.stop_after(model))
        if stopped[-1]:
            break
    assert stopped == [False] * 12 + [True]  # the 2nd is the best, the 13th the eleventh after it
    best_epoch.finish(model)
    assert model.weight.item() == 1


def test_best_epoch_ends_a_training_early_and_keeps_its_best_epoch(tmp_path, monkeypatch):
    rated = iter([0.9, 0.1] * 2)  # for the target, then for the shadow: the first epoch is the best
    monkeypatch.setattr(stage, "PATIENCE", 1)
    monkeypatch.setattr(BestEpoch, "accuracy", lambda self, model: next(rated))
    layout, kept = run(tmp_path, "--epochs", "3", "--protocol", "best_epoch"), []
    assert len(layout.file(ORIGINAL, "target", "log.jsonl").read_text().splitlines()) == 2
    kept.append(read_weights(layout.file(ORIGINAL, "target", "weights.pt")))
    assert kept[0]["settings"]["best_epoch"] == 1 and "l2_term" not in kept[0]["settings"]
    assert Run(layout).settings.protocol == "best_epoch"
    # One epoch more of patience ends with the same best epoch, and the last epoch is another one.
    rated = iter([0.9, 0.1, 0.1] * 2)
    monkeypatch.setattr(stage, "PATIENCE", 2)
    other = run(tmp_path / "patient", "--epochs", "3", "--protocol", "best_epoch")
    last = run(tmp_path / "last", "--epochs", "3")
    kept += [read_weights(one.file(ORIGINAL, "target", "weights.pt")) for one in (other, last)]
    assert kept[0]["digest"] == kept[1]["digest"] != kept[2]["digest"]
