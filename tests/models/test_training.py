"""models/training.py against a hand-written loop, and stopped runs against runs that went through."""
import copy
import io
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common.errors import CompLeakError
from common.seeds import derive_seed
from data.augment import PAD, draw
from models import training
from models.compression.clustering import Centroids
from models.compression.pruning import PRUNING, Mask
from models.networks.resnet import ResNet
from models.training import Hooks, Recipe, cosine, train

STATISTICS = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
TECHNIQUES = {"plain": lambda model: Hooks(), "pruning": lambda model: Mask(model, 0.6),
              "gradual": lambda model: Mask(model, 0.6, gradual=True),
              "channels": lambda model: PRUNING.start(model, "channels-0.5").hooks,
              "clustering": lambda model: Centroids(model, 2)}


class Kept:
    """Progress that holds its state as a file would; with stop_at, the training is stopped at that save."""

    def __init__(self, stop_at=None):
        self.stop_at, self.saves, self.bytes = stop_at, 0, None

    def load(self):
        return None if self.bytes is None else torch.load(io.BytesIO(self.bytes), weights_only=True)

    def save(self, state):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.bytes, self.saves = buffer.getvalue(), self.saves + 1
        if self.saves == self.stop_at:
            raise KeyboardInterrupt


def network(seed=0):
    torch.manual_seed(seed)
    return ResNet(3, widths=(4, 8, 8, 16)).to(memory_format=torch.channels_last)


def pictures(n=40, size=8):
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(3, size=n))
    return torch.from_numpy(rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)), labels


def recipe(**changes):
    """Small steps and batches not too small: else BatchNorm makes differences of rounding grow without limit."""
    usual = {"epochs": 2, "lr": 0.01, "batch_size": 16, "augment": True, "bfloat16": False, "seed": 7}
    return Recipe(**{**usual, **changes})


def run(model, given, tmp_path, progress=None, technique=None, n=40, size=8):
    return train(model, *pictures(n, size), STATISTICS, given, technique or Hooks(), progress or Kept(),
                 tmp_path / "log.jsonl", "test")


def log(tmp_path):
    return [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


def as_shown(image, offset, flip):
    """One picture as training shows it: cut from its zero-padded self, mirrored, normalised."""
    padded = np.pad(image.numpy(), ((PAD, PAD), (PAD, PAD), (0, 0)))
    cut = padded[offset[0] : offset[0] + 8, offset[1] : offset[1] + 8]
    cut = cut[:, ::-1] if flip else cut
    return torch.from_numpy(((cut / 255 - STATISTICS[0]) / STATISTICS[1]).astype(np.float32)).permute(2, 0, 1)


def by_hand(model, images, labels, given):
    """Train with SGD written out, one picture prepared at a time → (mean loss, accuracy) of each epoch."""
    n, momentum, said = len(images), {}, []
    for epoch in range(given.epochs):
        generator = torch.Generator().manual_seed(derive_seed(given.seed, "epoch", epoch))
        order = torch.randperm(n, generator=generator).tolist()
        offsets, flips = draw(n, generator) if given.augment else (torch.full((n, 2), PAD), torch.zeros(n))
        lr = given.lr * (1 + np.cos(np.pi * epoch / given.epochs)) / 2
        loss_sum, correct, seen = 0.0, 0, 0
        for step, start in enumerate(range(0, n, given.batch_size)):
            rows = order[start : start + given.batch_size]
            if len(rows) == 1:  # BatchNorm has no statistics of one picture
                continue
            x = torch.stack([as_shown(images[row], offsets[row], flips[row]) for row in rows])
            torch.manual_seed(derive_seed(given.seed, "dropout", epoch, step))
            logits = model.train()(x)
            loss = F.cross_entropy(logits, labels[rows])
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    gradient = weight.grad + 5e-4 * weight
                    momentum[name] = 0.9 * momentum[name] + gradient if name in momentum else gradient
                    weight -= lr * momentum[name]
            loss_sum, seen = loss_sum + loss.item() * len(rows), seen + len(rows)
            correct += (logits.argmax(1) == labels[rows]).sum().item()
        said.append((loss_sum / seen, correct / seen))
    return said


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("n", [48, 40, 33])
def test_the_loop_equals_one_written_out(tmp_path, n, augment):
    model = network()
    expected = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    said = by_hand(expected, *pictures(n), recipe(augment=augment))
    run(model, recipe(augment=augment), tmp_path, n=n)
    start = network().state_dict()
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-4, atol=2e-5, msg=name)
        assert not torch.equal(tensor, start[name]), "a loop that does nothing must not pass"
    lines = log(tmp_path)
    assert [line["epoch"] for line in lines] == [1, 2]
    for line, (loss, accuracy) in zip(lines, said, strict=True):
        assert line["train_loss"] == pytest.approx(loss, rel=1e-3)
        assert line["train_accuracy"] == pytest.approx(accuracy)


def test_the_seed_decides_the_run(tmp_path):
    one, again, other = (run(network(), recipe(seed=seed), tmp_path).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


@pytest.mark.parametrize("stop_at", [1, 3, 5, 8])
@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_stopped_run_ends_in_the_same_weights(tmp_path, monkeypatch, name, stop_at):
    monkeypatch.setattr(training, "SAVE_EVERY", -1)  # every step: three an epoch

    def start():
        model = network()
        return model, TECHNIQUES[name](model)

    given = recipe(epochs=3)
    model, technique = start()
    through = run(model, given, tmp_path, technique=technique).state_dict()
    lines = [{**line, "seconds": 0} for line in log(tmp_path)]
    (tmp_path / "log.jsonl").unlink()
    progress = Kept(stop_at)
    model, technique = start()
    with pytest.raises(KeyboardInterrupt):
        run(model, given, tmp_path, progress, technique)
    model, technique = start()
    resumed = run(model, given, tmp_path, progress, technique).state_dict()
    for key, tensor in through.items():
        assert torch.equal(tensor, resumed[key]), key
    assert [{**line, "seconds": 0} for line in log(tmp_path)] == lines


def test_the_hooks_are_called_in_order(tmp_path):
    calls = []

    class Watching(Hooks):
        """Writes down when it is called, and in what state."""

        def parameter_groups(self, model, weight_decay):
            assert weight_decay == 5e-4
            self.model = model
            return super().parameter_groups(model, weight_decay)

        def start_epoch(self, epoch, epochs):
            assert self.model.training
            calls.append((epoch, epochs))

        def after_backward(self):
            assert all(p.grad is not None for p in self.model.parameters())
            self.before = self.model.fc.weight.detach().clone()
            calls.append("backward")

        def after_step(self):
            assert not torch.equal(self.before, self.model.fc.weight)
            calls.append("step")

    run(network().eval(), recipe(), tmp_path, technique=Watching())
    assert calls == [(0, 2), *["backward", "step"] * 3, (1, 2), *["backward", "step"] * 3]


def test_bfloat16_changes_the_sums_and_not_the_weights_type(tmp_path):
    exact, rounded = (run(network(), recipe(bfloat16=on, epochs=1, batch_size=40), tmp_path, size=16).state_dict()
                      for on in (False, True))
    assert {t.dtype for t in rounded.values()} == {torch.float32, torch.int64}
    assert not torch.equal(exact["fc.weight"], rounded["fc.weight"])
    torch.testing.assert_close(exact["fc.weight"], rounded["fc.weight"], rtol=0, atol=0.02)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(CompLeakError) as error:
        run(network(), recipe(lr=1e30, epochs=3), tmp_path)
    said = str(error.value)
    assert "\n" not in said and said.startswith("test: the loss is") and "smaller --lr" in said


@pytest.mark.parametrize("poison", ["loss", "weight"])
def test_no_poisoned_state_is_saved_and_the_last_good_one_goes_on(tmp_path, monkeypatch, poison):
    monkeypatch.setattr(training, "SAVE_EVERY", -1)  # every step: three an epoch
    through, step, count = run(network(), recipe(epochs=3), tmp_path).state_dict(), training._step, [0]
    (tmp_path / "log.jsonl").unlink()

    def poisoned(model, *rest):
        count[0] += 1
        totals = step(model, *rest)
        if count[0] == 5 and poison == "weight":
            model.conv1.weight.data[0] = torch.nan
        return totals * torch.nan if count[0] == 5 and poison == "loss" else totals

    progress = Kept()
    with monkeypatch.context() as patch, pytest.raises(CompLeakError, match="in epoch 2 at learning rate 0.0075"):
        patch.setattr(training, "_step", poisoned)
        run(network(), recipe(epochs=3), tmp_path, progress)
    state = progress.load()
    assert (progress.saves, state["epoch"], state["step"]) == (4, 1, 1) and state["totals"].isfinite().all()
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    resumed = run(network(), recipe(epochs=3), tmp_path, progress).state_dict()
    assert all(torch.equal(through[name], resumed[name]) for name in through)


def test_the_cosine_schedule(tmp_path):
    rates = [cosine(0.1, epoch, 100) for epoch in range(101)]
    assert rates[0] == 0.1 and rates[50] == pytest.approx(0.05) and rates[100] == pytest.approx(0, abs=1e-12)
    assert all(later < earlier for earlier, later in zip(rates, rates[1:], strict=False))
    run(network(), recipe(epochs=4), tmp_path)
    assert [line["lr"] for line in log(tmp_path)] == [cosine(0.01, epoch, 4) for epoch in range(4)]


def test_each_epoch_has_its_own_order_and_crops():
    plans = [training.EpochPlan(50, recipe(), epoch, "cpu") for epoch in (0, 1, 0)]
    assert sorted(plans[0].order.tolist()) == list(range(50))
    assert torch.equal(plans[0].order, plans[2].order) and torch.equal(plans[0].offsets, plans[2].offsets)
    assert not torch.equal(plans[0].order, plans[1].order) and not torch.equal(plans[0].offsets, plans[1].offsets)
