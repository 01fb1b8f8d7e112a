"""attacks/samia.py: the written-out network is torch's own, learns, and repeats."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attacks import networks, samia
from attacks.networks import Dropout
from attacks.samia import Samia, samia_score, train_samia
from common.errors import CompLeakError
from common.metrics import auc


class NoDropout:
    """Factors of one, so that training mode can be compared."""

    def draw(self, shapes):
        return [torch.ones(shape) for shape in shapes]


def plain_forward(network, tokens):
    """The same parameters through torch's modules, without the written-out attention."""
    encoder = nn.TransformerEncoder(network.layers[0], samia.LAYERS, enable_nested_tensor=False)
    encoder.layers = network.layers
    x = network.normalise(tokens.reshape(len(tokens), -1)).reshape(tokens.shape)
    x = encoder(F.gelu(network.embed(x)))
    return network.out(torch.relu(network.hidden(x.flatten(1))))


def outputs(seed, n, shift, classes=4):
    rng = np.random.default_rng(seed)
    member = rng.permutation(n) < n // 2
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += shift * member
    posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return posteriors, rng.random((n, classes)) * 0.1, labels, member


def test_forward_equals_torchs_encoder():
    torch.manual_seed(0)
    network = Samia(10).double().eval()
    tokens = torch.rand(7, 10, 3, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(tokens), plain_forward(network, tokens), rtol=1e-10, atol=1e-10)
        assert network(tokens).std(0).min() > 1e-4


def test_gradients_equal_torchs_encoder_without_dropout():
    torch.manual_seed(0)
    network = Samia(10).train()
    network.dropout = NoDropout()
    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
            setattr(module, "p" if isinstance(module, nn.Dropout) else "dropout", 0.0)
    tokens, targets = torch.rand(33, 10, 3), torch.arange(33) % 2
    gradients = []
    for forward in (network, lambda x: plain_forward(network, x)):
        network.zero_grad()
        F.cross_entropy(forward(tokens), targets).backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    for fast, plain in zip(*gradients, strict=True):
        assert fast.abs().max() > 0
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("rows", "at_once"), [(2, 1000), (3, 1000), (33, 1000), (33, 5), (33, 0)])
def test_halves_on_two_threads_equal_the_whole_batch_with_the_same_dropout(monkeypatch, rows, at_once):
    monkeypatch.setattr(samia, "WHOLE", 9)
    monkeypatch.setattr(samia, "PAIRS", at_once * 10**2)
    torch.manual_seed(0)
    network = Samia(10).double().train()
    tokens, targets = torch.rand(rows, 10, 3, dtype=torch.float64), torch.arange(rows) % 2
    gradients = []
    with ThreadPoolExecutor(1) as pool:
        for backward in (samia.backward, partial(samia.backward_in_halves, pool)):
            network.dropout = Dropout(samia.DROPOUT, 0, "cpu")
            network.normalise.reset_running_stats()
            network.zero_grad()
            backward(network, tokens, targets)
            gradients.append([*(parameter.grad.clone() for parameter in network.parameters()),
                              network.normalise.running_var.clone()])
    for whole, halves in zip(*gradients, strict=True):
        assert whole.abs().max() > 0
        torch.testing.assert_close(halves, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("classes", "parts"), [(10, [64, 64]), (100, [64, 64]), (200, 2 * [*6 * [10], 4])])
def test_a_batch_is_two_halves_up_to_100_classes_and_smaller_parts_beyond(monkeypatch, classes, parts):
    asked, answer = [], Samia.answer
    monkeypatch.setattr(samia, "LAYERS", 1)
    monkeypatch.setattr(Samia, "answer", lambda self, x, masks: asked.append(len(x)) or answer(self, x, masks))
    network, rows = Samia(classes), torch.arange(networks.BATCH)
    network.dropout = Dropout(samia.DROPOUT, 0, "cpu")
    with ThreadPoolExecutor(1) as pool:
        samia.backward_in_halves(pool, network, torch.rand(len(rows), classes, 3), rows % 2)
    assert sorted(asked) == sorted(parts)


def test_network_has_the_published_sizes():
    network = Samia(10)
    per_layer = 64 * 192 + 192 + 64 * 64 + 64 + 64 * 128 + 128 + 128 * 64 + 64 + 4 * 64
    expected = 2 * 30 + (3 * 64 + 64) + 3 * per_layer + (640 * 64 + 64) + (64 * 2 + 2)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_dropout_factors(probability):
    dropout = Dropout(probability, seed=0, device="cpu")
    first, second = dropout.draw([(100, 10, 100), (300, 1000)])
    assert first.shape == (100, 10, 100) and second.shape == (300, 1000)
    for part in (first, second):
        assert set(part.unique().tolist()) == {0.0, np.float32(1 / (1 - probability)).item()}
        dropped = (part == 0).double().mean().item()
        assert abs(dropped - probability) < 4 * math.sqrt(probability * (1 - probability) / part.numel())
    kept = torch.cat([first.flatten(), second.flatten()]) > 0
    neighbours = torch.corrcoef(torch.stack([kept[:-1], kept[1:]]).double())[0, 1].item()
    assert abs(neighbours) < 4 / math.sqrt(len(kept))
    before = first.clone()
    assert not torch.equal(dropout.draw([(100, 10, 100)])[0], before)


def test_training_uses_dropout_and_evaluation_does_not():
    network = train_samia(*outputs(0, 200, 1.0), seed=0, device="cpu", epochs=1)
    arguments = outputs(1, 50, 1.0)[:3]
    np.testing.assert_array_equal(samia_score(network, *arguments), samia_score(network, *arguments))
    network.train()
    network.dropout = Dropout(samia.DROPOUT, 0, "cpu")
    tokens = samia.tokens(*arguments, "cpu")
    assert not torch.equal(network(tokens), network(tokens))


def test_an_obvious_signal_is_learnt_and_swapped_members_mirror_it():
    posteriors, sensitivity, labels, member = outputs(0, 1000, 5.0)
    test = outputs(1, 1000, 5.0)
    areas = []
    for truth in (member, ~member):
        network = train_samia(posteriors, sensitivity, labels, truth, seed=0, device="cpu", epochs=25)
        scores = samia_score(network, *test[:3])
        assert np.mean((scores > 0) == (test[3] if truth is member else ~test[3])) > 0.8
        areas.append(auc(scores, test[3]))
    assert areas[0] > 0.9 and areas[1] == pytest.approx(1 - areas[0], abs=0.03)


def test_null_model_is_a_coin():
    network = train_samia(*outputs(2, 600, 0.0), seed=0, device="cpu", epochs=3)
    *test, member = outputs(3, 1000, 0.0)
    scores = samia_score(network, *test)
    assert np.ptp(scores) > 0
    assert abs(auc(scores, member) - 0.5) < 3.2905 * np.sqrt(1001 / (12 * 500 * 500))


def test_training_repeats_bit_for_bit_on_any_threads_follows_its_seed_and_leaves_torchs_state():
    torch.manual_seed(5)
    state, usual = torch.get_rng_state(), torch.get_num_threads()
    weights = []
    try:
        for seed, threads in ((1, 1), (1, 2), (2, 2)):
            torch.set_num_threads(threads)
            network = train_samia(*outputs(0, 257, 1.0), seed=seed, device="cpu", epochs=1)
            assert torch.get_num_threads() == threads
            weights.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    finally:
        torch.set_num_threads(usual)
    assert torch.equal(weights[0], weights[1]) and not torch.allclose(weights[1], weights[2])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "value"), [("SCORING_BATCH", 7), ("SCORING_PAIRS", 7 * 4**2), ("SCORING_PAIRS", 1)])
def test_scores_do_not_depend_on_the_scoring_batch(monkeypatch, name, value):
    network, test = networks.seeded(lambda: Samia(4).eval(), 0), outputs(1, 50, 1.0)[:3]
    whole = samia_score(network, *test)
    monkeypatch.setattr(networks, name, value)
    asked, forward = [], Samia.forward
    monkeypatch.setattr(Samia, "forward", lambda self, tokens: asked.append(len(tokens)) or forward(self, tokens))
    np.testing.assert_allclose(samia_score(network, *test), whole, atol=1e-5)
    assert max(asked) == min(value, 7)


MEMORY = """
import numpy as np
import torch
from attacks import networks, samia
from benchmarks.memory import highest
torch.set_num_threads(1)

def score(rows):
    networks.log_odds(samia.Samia(100).eval(), torch.zeros(rows, 100, 3))
    return 1000 * highest()

def train(rows):
    shown = np.zeros((2, rows, 200), np.float32)
    samia.train_samia(*shown, np.arange(rows), np.arange(rows) % 2 == 0, 0, torch.device("cpu"), 1)
    return 1000 * highest()

before = max(score(2), train(2))
print(score(2048) - before, train(128) - before)
"""


def test_many_classes_need_little_memory(root):
    """In a process of its own, whose highest memory nothing else has raised."""
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=root, capture_output=True, text=True)
    scoring, training = map(float, done.stdout.split())
    assert scoring < 300 and training < 800


def test_one_kind_of_points_is_refused():
    posteriors, sensitivity, labels, member = outputs(0, 20, 0.0)
    with pytest.raises(CompLeakError, match="20 members of 20"):
        train_samia(posteriors, sensitivity, labels, np.ones(20, bool), seed=0, device="cpu", epochs=1)
