"""attacks/lira.py against double loops, simulated worlds and SciPy's densities."""

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from attacks.lira import VARIANCES, moments, offline_score, online_score
from attacks.signals import reference_mean
from common.errors import CompLeakError
from common.metrics import auc


def worlds(points=300, models=8, shift=1.0, seed=0):
    """φ of the attacked model [n], of the others [n,r], who trained on what [n,r], and the attacked one's members."""
    rng = np.random.default_rng(seed)
    hard, trained, member = rng.normal(0, 3, points), rng.random((points, models)) < 0.5, rng.random(points) < 0.5
    trained[:, :2], trained[:, 2:4] = True, False
    phi = hard[:, None] + shift * trained + rng.normal(0, 0.6, (points, models))
    return hard + shift * member + rng.normal(0, 0.6, points), phi, trained, member


def plain_moments(phi, mask, variance):
    """The definitions, one point after the other."""
    groups = [[x for x, used in zip(row, flags, strict=True) if used] for row, flags in zip(phi, mask, strict=True)]
    means = [sum(group) / len(group) for group in groups]
    squares = [sum((x - mean) ** 2 for x in group) for group, mean in zip(groups, means, strict=True)]
    pooled = (sum(squares) / sum(len(group) - 1 for group in groups)) ** 0.5
    if variance == "example":
        return means, [(s / (len(group) - 1)) ** 0.5 if len(group) > 1 else pooled
                       for s, group in zip(squares, groups, strict=True)]
    if variance == "pooled":
        return means, [pooled] * len(means)
    every = [x for group in groups for x in group]
    centre = sum(every) / len(every)
    return means, [(sum((x - centre) ** 2 for x in every) / (len(every) - 1)) ** 0.5] * len(means)


@pytest.mark.parametrize("variance", VARIANCES)
def test_scores_equal_the_double_loop(variance):
    own, phi, trained, _ = worlds(60)
    trained[:5], trained[5:9] = np.arange(8) > 0, np.arange(8) < 1  # a single model of one kind
    unread = np.where(trained, np.nan, phi)  # what trained on a point must not be read offline
    mean, deviation = plain_moments(phi, ~trained, variance)
    np.testing.assert_allclose(moments(phi, ~trained, variance), (mean, deviation), rtol=1e-10)
    np.testing.assert_allclose(offline_score(own, unread, ~trained, variance), (own - mean) / deviation, rtol=1e-9)
    inside = norm.logpdf(own, *plain_moments(phi, trained, variance))
    np.testing.assert_allclose(online_score(own, phi, ~trained, trained, variance),
                               inside - norm.logpdf(own, mean, deviation), rtol=1e-8, atol=1e-9)


def test_the_pooled_variance_is_the_noise_and_the_global_one_holds_difficulty_too():
    _, phi, trained, _ = worlds(4000, shift=0.0)
    assert moments(phi, ~trained, "pooled")[1][0] == pytest.approx(0.6, rel=0.02)
    assert moments(phi, ~trained, "global")[1][0] == pytest.approx(np.hypot(3, 0.6), rel=0.05)


@pytest.mark.parametrize("variance", ["pooled", "global"])
def test_offline_with_one_variance_for_all_ranks_as_phi_less_its_reference(variance):
    own, phi, trained, _ = worlds()
    np.testing.assert_array_equal(rankdata(offline_score(own, phi, ~trained, variance)),
                                  rankdata(own - reference_mean(phi, ~trained)))


def test_the_offline_score_still_ranks_where_its_probability_is_one():
    references = np.array([[-0.01, 0.01]] * 2)
    scores = offline_score(np.array([1.0, 2.0]), references, np.ones((2, 2), bool))
    assert norm.cdf(scores[0]) == norm.cdf(scores[1]) == 1 and scores[0] < scores[1]


@pytest.mark.parametrize("variance", VARIANCES)
def test_a_null_model_swapped_labels_and_a_shift(variance):
    own, phi, trained, member = worlds(4000, shift=0.0, seed=1)
    assert auc(offline_score(own, phi, ~trained, variance), member) == pytest.approx(0.5, abs=0.03)
    scores = online_score(own, phi, ~trained, trained, variance)
    assert auc(scores, member) == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(online_score(own, phi, trained, ~trained, variance), -scores)
    own, phi, trained, member = worlds(4000, seed=1)
    online = auc(online_score(own, phi, ~trained, trained, variance), member)
    assert online > 0.75 and online > auc(own, member) + 0.1


def test_an_equal_pair_of_models_gives_a_finite_score():
    scores = offline_score(np.array([2.0, 1.0]), np.ones((2, 2)), np.ones((2, 2), bool), "example")
    assert np.isfinite(scores).all() and scores[0] > scores[1] == 0


def test_too_few_models_are_refused():
    own, phi = np.zeros(2), np.zeros((2, 2))
    with pytest.raises(CompLeakError, match="1 or more models of a kind.*1 of 2 points"):
        online_score(own, phi, np.ones((2, 2)), [[True, True], [False, False]])
    for variance in ("example", "pooled"):
        with pytest.raises(CompLeakError, match=f"{variance} variance needs two models"):
            offline_score(own, phi, [[True, False], [False, True]], variance)
