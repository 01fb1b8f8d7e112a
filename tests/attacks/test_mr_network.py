"""attacks/mr_network.py: the network's shape, its standardisation, signal, null model and repeatability."""

import numpy as np
import pytest
import torch
from torch import nn

from attacks import mr_network
from attacks.attack import Context
from attacks.mr_network import multi_score, train_multi
from common.errors import CompLeakError
from common.metrics import auc


def inputs(seed, n, shift, k=3):
    rng = np.random.default_rng(seed)
    member = rng.permutation(n) < n // 2
    scores = 1 / (1 + np.exp(-rng.normal(size=(n, k)) - shift * member[:, None]))
    losses = 40 + 10 * rng.normal(size=(n, k)) - 10 * shift * member[:, None]
    return scores, losses, member


def trained(seed=0, epochs=6, shift=1.0, n=1000):
    return train_multi(*inputs(0, n, shift), seed=seed, device="cpu", epochs=epochs)


def test_network_equals_the_published_stack():
    model = trained(epochs=1)
    scores, losses, _ = inputs(1, 20, 1.0)
    mean, std = inputs(0, 1000, 1.0)[1].mean(0), inputs(0, 1000, 1.0)[1].std(0)

    def branch(i):
        return nn.Sequential(model.first[i], nn.ReLU(), nn.Dropout(0.5), model.second[i])

    stack = [nn.Dropout(0.5)]
    for layer in model.joined:
        stack += [layer, nn.ReLU(), nn.Dropout(0.5)]
    plain = nn.Sequential(*stack[:-2]).eval()
    with torch.no_grad():
        sides = [branch(0).eval()(torch.tensor(scores, dtype=torch.float32)),
                 branch(1).eval()(torch.tensor((losses - mean) / std, dtype=torch.float32))]
        logits = plain(torch.cat(sides, 1)).numpy()
    np.testing.assert_allclose(multi_score(model, scores, losses), logits[:, 1] - logits[:, 0], atol=1e-4)
    widths = [(m.in_features, m.out_features) for m in [*model.first, *model.second, *model.joined]]
    assert widths == [(3, 128)] * 2 + [(128, 64)] * 2 + [(128, 256), (256, 128), (128, 64), (64, 2)]


def test_training_drops_half_of_every_dropout_layer():
    model = trained(epochs=1)
    drawn = []

    class Spy:
        def draw(self, shapes):
            drawn.extend(shapes)
            return [torch.zeros(shape) for shape in shapes]

    model.train()
    model.dropout = Spy()
    out = model(torch.rand(5, 6))
    assert drawn == [(5, 128), (5, 128), (5, 128), (5, 256), (5, 128), (5, 64)]
    torch.testing.assert_close(out, model.joined[-1].bias.expand(5, 2))


def test_standardisation_is_the_shadows_and_survives_a_constant_loss():
    scores, losses, member = inputs(0, 400, 1.0)
    losses[:, 1] = 7.0
    model = train_multi(scores, losses, member, seed=0, device="cpu", epochs=1)
    np.testing.assert_allclose(model.loss_mean.numpy(), losses.mean(0), rtol=1e-5)
    np.testing.assert_allclose(model.loss_std.numpy(), [losses[:, 0].std(), 1, losses[:, 2].std()], rtol=1e-4)
    assert np.isfinite(multi_score(model, scores, losses)).all()


def test_an_obvious_signal_is_learnt_and_swapped_members_mirror_it():
    scores, losses, member = inputs(0, 1000, 2.0)
    test_scores, test_losses, truth = inputs(1, 1000, 2.0)
    right = multi_score(train_multi(scores, losses, member, 0, "cpu", epochs=20), test_scores, test_losses)
    swapped = multi_score(train_multi(scores, losses, ~member, 0, "cpu", epochs=20), test_scores, test_losses)
    assert auc(right, truth) > 0.97 and np.mean((right > 0) == truth) > 0.9
    assert auc(swapped, truth) == pytest.approx(1 - auc(right, truth), abs=0.02)


def test_null_model_is_a_coin():
    model = trained(shift=0.0)
    scores, losses, member = inputs(1, 1000, 0.0)
    out = multi_score(model, scores, losses)
    assert np.ptp(out) > 0
    assert abs(auc(out, member) - 0.5) < 3.2905 * np.sqrt(1001 / (12 * 500 * 500))


def test_training_repeats_bit_for_bit_and_follows_its_seed():
    first, again, other = (multi_score(trained(seed=seed, epochs=1, n=300), *inputs(1, 50, 1.0)[:2])
                           for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_kind_of_points_is_refused():
    with pytest.raises(CompLeakError, match="0 members"):
        train_multi(np.zeros((5, 2)), np.zeros((5, 2)), np.zeros(5, bool), seed=0, device="cpu")


def test_with_several_shadows_networks_score_shadows_that_they_never_saw(monkeypatch):
    """One picture can be in two shadows: its answers under one must not help to score it under the other."""
    n, seen = 40, []
    shadow_of, member = np.repeat([0, 1, 2, 3], n), np.tile(np.arange(n) < n // 2, 4)
    losses, scores = np.random.default_rng(0).random((4 * n, 2)), [np.random.default_rng(1).random(4 * n)] * 2

    def train(scores, losses, member, seed, device, **how):
        seen.append({tuple(row) for row in losses})
        return None

    monkeypatch.setattr(mr_network, "multi_score", lambda model, scores, losses: np.full(len(losses), len(losses)))
    group = mr_network.Group("any, with the original", losses, losses, [], member, member, shadow_of)
    mr_network._cross_fitted(np.stack(scores, 1), group, 0, Context(0), train)
    shadows = [{tuple(row) for row in losses[shadow_of == one]} for one in range(4)]
    assert len(seen) == 2 and all(part <= rows or not part & rows for rows in seen for part in shadows)
    assert seen[0] | seen[1] == set().union(*shadows) and not seen[0] & seen[1]
