"""attacks/metrics.py against scikit-learn, brute force and plain loops."""

import json
from itertools import product

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from attacks import metrics
from models.errors import CompLeakError


def sample(seed, members=150, non_members=130, decimals=1, shift=0.7):
    """Scores with many ties, members first."""
    rng = np.random.default_rng(seed)
    member = np.arange(members + non_members) < members
    return np.round(rng.normal(size=len(member)) + shift * member, decimals), member


def pair_wins(scores, member):
    """[members, non-members]: 1 for a member above, 0.5 for a tie."""
    a, b = scores[member][:, None], scores[~member][None]
    return (a > b) + 0.5 * (a == b)


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
    assert metrics.evaluate(scores, scores > 1, member, 0)["auc"] == 1


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


def test_resampled_metrics_equal_a_plain_loop():
    scores, member = sample(4, 40, 30)
    values, all_members, all_non_members = metrics.counts_by_score(scores, member)
    rng = np.random.default_rng(0)
    members = rng.multinomial(40, all_members / 40, size=25)
    non_members = rng.multinomial(30, all_non_members / 30, size=25)
    areas, tprs = metrics.auc_tpr_of_counts(members, non_members, fpr=0.1)
    for i in range(25):
        drawn = np.concatenate([np.repeat(values, members[i]), np.repeat(values, non_members[i])])
        of_members = np.arange(70) < 40
        assert areas[i] == pytest.approx(metrics.auc(drawn, of_members), abs=1e-12)
        assert tprs[i] == metrics.tpr_at_fpr(drawn, of_members, 0.1)


def test_bootstrap_is_repeatable_and_agrees_with_theory():
    scores, member = sample(5, 2000, 2000, decimals=2)
    decisions = scores > 0.35
    first = metrics.bootstrap(scores, member, decisions, seed=1)
    assert first == metrics.bootstrap(scores, member, decisions, seed=1)
    assert first != metrics.bootstrap(scores, member, decisions, seed=2)
    delong = metrics.evaluate(scores, decisions, member, 1)["auc_interval"]
    np.testing.assert_allclose(first["auc"], delong, atol=0.003)
    spread = np.sqrt((decisions[member].var() + decisions[~member].var()) / 2000) / 2
    expected = metrics.balanced_accuracy(decisions, member) + np.array([-1, 1]) * 1.96 * spread
    np.testing.assert_allclose(first["acc"], expected, atol=0.003)
    low, high = first["tpr"]
    assert low <= metrics.tpr_at_fpr(scores, member) <= high and low < high


def test_bootstrap_does_not_depend_on_the_size_of_its_chunks(monkeypatch):
    scores, member = sample(6)
    whole = metrics.bootstrap(scores, member, scores > 0, seed=1, resamples=1)
    monkeypatch.setattr(metrics, "CHUNK_POINTS", 1)
    assert metrics.bootstrap(scores, member, scores > 0, seed=1, resamples=1) == whole
    assert np.ptp(metrics.bootstrap(scores, member, scores > 0, seed=1, resamples=40)["auc"]) > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_delong_matches_the_plain_computation(seed):
    a, member = sample(seed)
    b = np.round(0.5 * a + np.random.default_rng(seed).normal(size=len(a)), 1)
    difference = pair_wins(a, member) - pair_wins(b, member)
    positives, negatives = difference.shape
    variance = (difference.mean(1).var(ddof=1) / positives + difference.mean(0).var(ddof=1) / negatives)
    result = metrics.delong(a, b, member)
    assert result["difference"] == pytest.approx(difference.mean(), abs=1e-12)
    assert result["difference"] == pytest.approx(metrics.auc(a, member) - metrics.auc(b, member), abs=1e-12)
    assert result["standard_error"] == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert result["p"] == pytest.approx(2 * norm.sf(abs(difference.mean()) / np.sqrt(variance)), rel=1e-6)


def test_delong_of_the_same_ranking_has_no_variance():
    scores, member = sample(0)
    assert metrics.delong(scores, 2 * scores + 1, member) == {"difference": 0.0, "standard_error": 0.0, "p": 1.0}


def test_delong_needs_two_of_each():
    with pytest.raises(CompLeakError, match="two members"):
        metrics.delong([1, 2, 3], [3, 2, 1], [True, False, False])


def test_evaluate_is_ready_for_json():
    scores, member = sample(7, 1200, 1000)
    result = json.loads(json.dumps(metrics.evaluate(scores, scores > 0.3, member, seed=0)))
    assert result["auc"] == metrics.auc(scores, member) and result["tpr"] == metrics.tpr_at_fpr(scores, member)
    assert result["acc"] == metrics.balanced_accuracy(scores > 0.3, member)
    wins = pair_wins(scores, member)
    half = 1.959964 * np.sqrt(wins.mean(1).var(ddof=1) / 1200 + wins.mean(0).var(ddof=1) / 1000)
    np.testing.assert_allclose(result["auc_interval"], [result["auc"] - half, result["auc"] + half], rtol=1e-6)
    assert result["fpr_of_decision"] == np.mean(scores[~member] > 0.3)
    assert (result["members"], result["non_members"], result["tpr_resolvable"]) == (1200, 1000, True)
    assert not metrics.evaluate(scores[:-1], scores[:-1] > 0.3, member[:-1], seed=0)["tpr_resolvable"]
