"""attacks/metrics.py against scikit-learn, brute force and plain loops."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from common import metrics
from common.errors import CompLeakError


def sample(seed, members=150, non_members=130, decimals=1, shift=0.7):
    """Scores with many ties, members first."""
    rng = np.random.default_rng(seed)
    member = np.arange(members + non_members) < members
    return np.round(rng.normal(size=len(member)) + shift * member, decimals), member


@pytest.mark.parametrize("decimals", [0, 1, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_auc_matches_scikit_learn_with_heavy_ties(seed, decimals):
    scores, member = sample(seed, decimals=decimals)
    assert metrics.auc(scores, member) == pytest.approx(roc_auc_score(member, scores), abs=1e-12)


@pytest.mark.parametrize("seed, decimals, fpr", list(product([0, 1, 2], [0, 1, 6], [0.0, 0.001, 0.05, 0.3])))
def test_tpr_matches_brute_force(seed, decimals, fpr):
    scores, member = sample(seed, decimals=decimals)
    rates = [(np.mean(scores[~member] >= t), np.mean(scores[member] >= t)) for t in [*scores, np.inf]]
    assert metrics.tpr_at_fpr(scores, member, fpr) == max(true for false, true in rates if false <= fpr)


def test_ten_false_positives_of_ten_thousand_are_within_a_thousandth():
    scores = np.concatenate([np.full(10, 5.0), np.zeros(9990), np.full(30, 5.0), np.full(70, -1.0)])
    member = np.arange(len(scores)) >= 10_000
    assert metrics.tpr_at_fpr(scores, member) == 0.3
    scores[10] = 5.0
    assert metrics.tpr_at_fpr(scores, member) == 0.0


def test_roc_has_one_point_per_distinct_score():
    fpr, tpr = metrics.roc([3, 3, 2, 1, 1, 1], [True, False, True, False, True, False])
    np.testing.assert_allclose(fpr, [0, 1 / 3, 1 / 3, 1])
    np.testing.assert_allclose(tpr, [0, 1 / 3, 2 / 3, 1])


def test_swapping_members_mirrors_the_roc():
    scores, member = sample(3)
    fpr, tpr = metrics.roc(scores, member)
    mirrored_fpr, mirrored_tpr = metrics.roc(scores, ~member)
    np.testing.assert_array_equal(mirrored_fpr, tpr)
    np.testing.assert_array_equal(mirrored_tpr, fpr)
    assert metrics.auc(scores, ~member) == pytest.approx(1 - metrics.auc(scores, member), abs=1e-12)


def test_infinite_scores_keep_their_place():
    scores, member = np.array([np.inf, 2.0, -np.inf, 1.0]), np.array([True, True, False, False])
    assert metrics.auc(scores, member) == 1
    assert metrics.tpr_at_fpr(scores, member) == 1


@pytest.mark.parametrize("scores, member, words", [
    ([0.1, np.nan], [True, False], "1 of 2 scores are NaN"),
    ([0.1, 0.2], [True, True], "non-members"),
    ([0.1, 0.2], [False, False], "0 members"),
    ([0.1, 0.2, 0.3], [True, False], "one length"),
])
@pytest.mark.parametrize("function", [metrics.auc, metrics.tpr_at_fpr, metrics.roc])
def test_unusable_input_is_one_clear_line(function, scores, member, words):
    with pytest.raises(CompLeakError, match=words) as error:
        function(scores, member)
    assert "\n" not in str(error.value)


def test_balanced_accuracy_weighs_the_classes_equally():
    assert metrics.balanced_accuracy([True, False, False, False], [True, True, False, False]) == 0.75
    assert metrics.balanced_accuracy([True] * 4, [True, False, False, False]) == 0.5


@pytest.mark.parametrize(("non_members", "fpr", "allowed"), [(10_000, 0.001, 10), (9_999, 0.001, 9), (999, 0.001, 0),
                                                             (100, 0.01, 1), (7_000, 0.001, 7), (300, 0.01, 3)])
def test_allowed_false_positives_are_the_most_within_the_fpr(non_members, fpr, allowed):
    assert metrics.allowed_false_positives(non_members, fpr) == allowed
    assert allowed / non_members <= fpr < (allowed + 1) / non_members


def test_a_tpr_is_resolvable_from_one_false_positive_on():
    assert [metrics.resolvable("tpr", n) for n in (999, 1000)] == [False, True]
    assert [metrics.resolvable("tpr_1", n) for n in (99, 100)] == [False, True]
    assert metrics.resolvable("auc", 2) and metrics.resolvable("acc", 2)
