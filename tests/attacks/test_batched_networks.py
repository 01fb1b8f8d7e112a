"""attacks/batched_networks.py against one plain network after the other."""

import math
import time

import numpy as np
import pytest
import torch
from torch import nn

from attacks import batched_networks
from attacks.batched_networks import EPOCHS, Job, initial_weights, train_and_score
from common.metrics import auc


def drawn(n=600, d=3, seed=0, leak=1.0):
    """Features [n,d] of unlike scales, a constant one among them, and members [n]."""
    rng = np.random.default_rng(seed)
    member = rng.random(n) < 0.5
    features = (rng.normal(size=(n, d)) + leak * member[:, None]) * 10.0 ** np.arange(d) + 5
    features[:, d - 1] = 7.0
    return features, member


def jobs(count, features, member, rows, first=0):
    return [Job(features, member, rows, features[300:], 10 + i, 1000 + i) for i in range(first, first + count)]


def plain(job):
    """The same with torch.nn and torch.optim: one network, one loop."""
    mean, deviation = job.features[job.rows].mean(0), job.features[job.rows].std(0)
    deviation[deviation == 0] = 1
    inputs, scored = (torch.tensor((rows - mean) / deviation, dtype=torch.float32)
                      for rows in (job.features[job.rows], job.scored))
    targets = torch.tensor(job.member[job.rows], dtype=torch.float32)
    network = nn.Sequential(nn.Linear(inputs.shape[1], 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1))
    w = initial_weights(inputs.shape[1], job.weights)
    with torch.no_grad():
        for layer, weight, bias in ((0, w[0].T, w[1]), (2, w[2].T, w[3]), (4, w[4], w[5])):
            network[layer].weight.copy_(weight)
            network[layer].bias.copy_(bias[0])
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    order = torch.Generator().manual_seed(job.order)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs), generator=order).split(256):
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(network(inputs[batch])[:, 0], targets[batch]).backward()
            optimiser.step()
        schedule.step()
    with torch.no_grad():
        return network(scored)[:, 0].double().numpy()


def test_networks_trained_together_equal_plain_ones():
    """Two shapes, a last batch that is not full, and more networks than are trained at once."""
    features, member = drawn()
    wide, _ = drawn(d=5, seed=1)
    every = [*jobs(18, features, member, np.arange(0, 600, 2)), *jobs(2, wide, member, np.arange(400), first=50),
             *jobs(1, features, member, np.arange(600), first=60)]
    found = train_and_score(every)
    assert len(found) == len(every) and found[0].dtype == np.float64
    for place in (0, 17, 18, 19, 20):
        np.testing.assert_allclose(found[place], plain(every[place]), rtol=1e-4, atol=1e-4)
    assert np.std(found[0]) > 0.5  # far above the tolerance


def test_neighbours_change_nothing_and_seeds_do(monkeypatch):
    features, member = drawn()
    together = train_and_score(jobs(6, features, member, np.arange(300)), epochs=3)
    monkeypatch.setattr(batched_networks, "TOGETHER", 2)
    for one, other in zip(together, train_and_score(jobs(6, features, member, np.arange(300)), epochs=3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    base = Job(features, member, np.arange(300), features, 1, 2)
    assert not np.allclose(*train_and_score([base, Job(features, member, base.rows, features, 3, 2)], epochs=1))
    assert not np.allclose(*train_and_score([base, Job(features, member, base.rows, features, 1, 3)], epochs=1))


def test_weights_are_those_of_a_linear_layer_and_the_last_is_zero():
    first, bias, second, second_bias, last, last_bias = initial_weights(9, seed=0)
    assert first.shape == (9, 64) and second.shape == (64, 64) and last.shape == (1, 64)
    for tensor, fan_in in ((first, 9), (bias, 9), (second, 64), (second_bias, 64)):
        bound = 1 / math.sqrt(fan_in)
        assert tensor.abs().max() <= bound and tensor.std() > 0.45 * bound and tensor.mean().abs() < 0.3 * bound
    assert not last.any() and not last_bias.any()
    torch.testing.assert_close(initial_weights(9, seed=0)[2], second)
    assert (initial_weights(9, seed=1)[2] != second).any()


def test_torchs_threads_and_random_state_are_left_as_they_were():
    features, member = drawn()
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    train_and_score(jobs(2, features, member, np.arange(300)), epochs=1)
    assert torch.get_num_threads() == threads and torch.equal(torch.random.get_rng_state(), state)


def test_a_failure_does_not_wait_for_the_parts_to_come(monkeypatch):
    features, member = drawn()
    started = []

    def fails(jobs, epochs):
        started.append(jobs)
        time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(batched_networks, "_train", fails)
    monkeypatch.setattr(batched_networks, "TOGETHER", 1)
    with pytest.raises(KeyboardInterrupt):
        train_and_score(jobs(200, features, member, np.arange(300)))
    assert len(started) < 100


def test_only_the_training_rows_are_learned_from():
    features, member = drawn(n=2000)
    rows = np.arange(1000)
    wrong = member.copy()
    wrong[1000:] ^= True
    spoiled = features.copy()
    spoiled[1000:] *= -100
    right, other = train_and_score([Job(features, member, rows, features[1000:], 1, 2),
                                    Job(spoiled, wrong, rows, features[1000:], 1, 2)])
    np.testing.assert_allclose(other, right, rtol=1e-4, atol=1e-4)
    assert auc(right, member[1000:]) > 0.8
