"""attacks/metric_based.py: limits of the scores, and thresholds against exhaustive search."""

import numpy as np
import pytest

from attacks.metric_based import (
    correctness_score,
    entropy_score,
    fit_class_thresholds,
    fit_threshold,
    loss_score,
    modified_entropy_score,
)
from common.errors import CompLeakError
from common.metrics import auc, balanced_accuracy


def test_check_value_of_modified_entropy():
    assert modified_entropy_score([[0.7, 0.2, 0.1]], [0])[0] == pytest.approx(-0.16216725, abs=1e-8)


def test_scores_equal_the_plain_formulas():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(5), size=50), rng.integers(5, size=50)
    np.testing.assert_allclose(entropy_score(p), (p * np.log(p)).sum(1), rtol=1e-12)
    for row, label, score in zip(p, y, modified_entropy_score(p, y), strict=True):
        others = np.delete(row, label)
        expected = (1 - row[label]) * np.log(row[label]) + (others * np.log(1 - others)).sum()
        assert score == pytest.approx(expected, rel=1e-12)


def test_certain_predictions_have_their_limits():
    p = np.array([[1.0, 0.0, 0.0]])
    assert entropy_score(p)[0] == 0
    assert modified_entropy_score(p, [0])[0] == 0
    assert modified_entropy_score(p, [1])[0] == -np.inf


def test_confident_predictions_keep_their_order():
    """Beyond 1 - p = 1e-16, where 1 - p rounds to nothing, the order must still be that of the other classes."""
    rest = 10.0 ** -np.arange(1, 60)
    p = np.stack([1 - rest, rest / 2, rest / 2], 1)
    for score in (entropy_score(p), modified_entropy_score(p, np.zeros(len(p), int))):
        assert np.isfinite(score).all() and (np.diff(score) > 0).all()
    wrong = modified_entropy_score(p, np.ones(len(p), int))
    assert np.isfinite(wrong).all() and (np.diff(wrong) < 0).all()


@pytest.mark.parametrize("row", [[0.1] * 10, [0.3, 0.3, 0.25, 0.1, 0.05], [1 - 3e-17, 1e-17, 2e-17, 0.0]])
def test_equal_posteriors_give_equal_scores_whatever_the_classes(row):
    """Rounding must not break ties: a model that answers the same to everyone knows nothing."""
    rng = np.random.default_rng(0)
    order = rng.permuted(np.tile(np.arange(len(row)), (200, 1)), axis=1)
    posteriors = np.array(row)[order]
    assert len(np.unique(entropy_score(posteriors))) == 1
    for of_label in np.unique(row):
        labels = np.array([rng.choice(np.flatnonzero(some == of_label)) for some in posteriors])
        assert len(np.unique(modified_entropy_score(posteriors, labels))) == 1


def test_constant_posteriors_are_a_coin():
    member, labels = np.arange(1000) % 2 == 0, np.random.default_rng(0).integers(10, size=1000)
    posteriors = np.full((1000, 10), 0.1)
    assert auc(entropy_score(posteriors), member) == auc(modified_entropy_score(posteriors, labels), member) == 0.5


def test_loss_and_correctness():
    np.testing.assert_array_equal(loss_score(np.array([0.5, np.inf], np.float32)), [-0.5, -np.inf])
    np.testing.assert_array_equal(correctness_score([[1, 3], [2, 0]], np.array([1, 1])), [1, 0])


@pytest.mark.parametrize("seed", range(5))
def test_threshold_is_the_best_observed_one_and_the_lowest_of_several(seed):
    rng = np.random.default_rng(seed)
    scores, member = rng.integers(0, 12, size=40) / 4, np.arange(40) < 15
    quality = {t: balanced_accuracy(scores >= t, member) for t in set(scores.tolist())}
    best = [t for t, value in quality.items() if value > max(quality.values()) - 1e-9]
    assert fit_threshold(scores, member) == min(best)


def test_threshold_of_a_tie_in_the_objective():
    assert fit_threshold([4.0, 3.0, 2.0, 1.0], [True, False, True, False]) == 2.0


def test_class_thresholds_and_the_class_without_members():
    scores = np.array([5.0, 1.0, 9.0, 8.0, 7.0, 6.0])
    labels = np.array([0, 0, 1, 1, 2, 2])
    member = np.array([True, False, True, False, False, False])
    overall = fit_threshold(scores, member)
    thresholds = fit_class_thresholds(scores, member, labels, num_classes=4)
    np.testing.assert_array_equal(thresholds, [5, 9, overall, overall])


def test_bad_input_is_refused():
    with pytest.raises(CompLeakError, match="NaN"):
        fit_threshold([np.nan, 1.0], [True, False])
    with pytest.raises(CompLeakError, match="outside 0..1"):
        fit_class_thresholds([1.0, 0.0], [True, False], [0, 2], num_classes=2)
