"""attacks/intervals.py: the fast bootstrap is the plain one, DeLong is the plain computation, and intervals cover."""
import json
from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from attacks.results import evaluate
from common import intervals, metrics
from common.errors import CompLeakError


def sample(seed, members=150, non_members=130, decimals=1, shift=0.7):
    """Scores with many ties, members first."""
    rng = np.random.default_rng(seed)
    member = np.arange(members + non_members) < members
    return np.round(rng.normal(size=len(member)) + shift * member, decimals), member


def pair_wins(scores, member):
    """[members, non-members]: 1 for a member above, 0.5 for a tie."""
    a, b = scores[member][:, None], scores[~member][None]
    return (a > b) + 0.5 * (a == b)


def plain_resamples(member, resamples, seed):
    """Positions of stratified resamples, drawn one after the other: members first, then non-members."""
    rng = np.random.default_rng(seed)
    sides = np.flatnonzero(member), np.flatnonzero(~member)
    for _ in range(resamples):
        yield np.concatenate([rng.choice(side, len(side)) for side in sides])


def shares(values, possible):
    """How often each possible value occurs, as shares."""
    return np.array([np.isclose(values, value).mean() for value in possible])


# The bootstrap.

@pytest.mark.parametrize(("scores", "fpr"), [
    ([3, 1, 2, 4, 2, 1, 0], 0.0), ([3, 1, 2, 4, 2, 1, 0], 0.3), ([3, 1, 2, 4, 2, 1, 0], 0.6),
    ([2, 2, 2, 2, 2, 1, 1], 0.3), ([1, 1, 1, 1, 1, 1, 1], 0.3), ([np.inf, 1, -np.inf, np.inf, 0, 1, -1], 0.3)])
def test_fast_bootstrap_has_the_distribution_of_all_resamples(scores, fpr):
    """Three members and four non-members: all 27 · 256 equally likely resamples, counted."""
    scores, member = np.array(scores, dtype=float), np.arange(7) < 3
    possible = np.arange(4) / 3
    exact = [metrics.tpr_at_fpr(scores[[*a, *b]], member, fpr)
             for a, b in product(product(range(3), repeat=3), product(range(3, 7), repeat=4))]
    draws = 100_000
    fast = intervals.bootstrap_tpr(scores, member, fpr, np.random.default_rng(0), draws)
    expected = shares(np.array(exact), possible)
    # Five standard deviations of a share of this many draws.
    np.testing.assert_array_less(np.abs(shares(fast, possible) - expected),
                                 5 * np.sqrt(expected * (1 - expected) / draws) + 1e-12)


def test_paired_bootstrap_has_the_joint_distribution_of_all_resamples():
    member, fpr, possible = np.arange(6) < 3, 0.4, np.arange(4) / 3
    attacks = [np.array([3.0, 1, 2, 4, 2, 1]), np.array([1.0, 3, 3, 2, 3, 0])]
    drawn = [[*a, *b] for a, b in product(product(range(3), repeat=3), product(range(3, 6), repeat=3))]
    exact = np.array([[metrics.tpr_at_fpr(scores[rows], member, fpr) for scores in attacks] for rows in drawn])
    draws = 50_000
    found = intervals.paired_tprs(attacks, member, fpr, 1, draws)
    assert found.shape == (2, draws)
    for pair in product(possible, possible):
        expected = np.isclose(exact, pair).all(1).mean()
        share = np.isclose(found.T, pair).all(1).mean()
        assert abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / draws), pair


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_paired_bootstrap_of_larger_samples_equals_a_plain_loop(decimals, monkeypatch):
    """The same resamples, handed to the fast code as counts, give the plain loop's numbers exactly, ties included."""
    scores, member = sample(2, 300, 250, decimals)
    resamples = list(plain_resamples(member, 40, seed=0))
    counts = [np.stack([np.bincount(rows[side] - start, minlength=n) for rows in resamples], axis=1).astype(np.uint16)
              for side, start, n in ((slice(300), 0, 300), (slice(300, None), 300, 250))]
    monkeypatch.setattr(intervals, "_resampled_counts", lambda n, rows, rng: counts[0 if n == 300 else 1])
    for fpr in (0.0, 0.01, 0.2, 0.9):
        found = intervals.paired_tprs([scores, -scores], member, fpr, 0, 40)
        for row, rows in zip(found.T, resamples, strict=True):
            of_rows = [metrics.tpr_at_fpr(side[rows], member, fpr) for side in (scores, -scores)]
            np.testing.assert_allclose(row, of_rows, atol=1e-12)


def test_paired_bootstrap_does_not_depend_on_the_company_and_moves_with_the_seed():
    scores, member = sample(3, 400, 300, 2)
    alone = intervals.paired_tprs([scores], member, 0.01, 5, 300)
    np.testing.assert_array_equal(intervals.paired_tprs([-scores, scores], member, 0.01, 5, 300)[1], alone[0])
    assert (intervals.paired_tprs([scores], member, 0.01, 6, 300) != alone).any()


def test_bootstrap_is_repeatable_and_agrees_with_theory():
    scores, member = sample(5, 2000, 2000, decimals=2)
    decisions = scores > 0.35
    first = intervals.bootstrap(scores, member, decisions, seed=1)
    assert first == intervals.bootstrap(scores, member, decisions, seed=1)
    assert first != intervals.bootstrap(scores, member, decisions, seed=2)
    spread = np.sqrt((decisions[member].var() + decisions[~member].var()) / 2000) / 2
    expected = metrics.balanced_accuracy(decisions, member) + np.array([-1, 1]) * 1.96 * spread
    np.testing.assert_allclose(first["acc"], expected, atol=0.003)
    for name, fpr in metrics.FPRS.items():
        low, high = first[name]
        assert low <= metrics.tpr_at_fpr(scores, member, fpr) <= high and low < high
    assert first["tpr"][1] < first["tpr_1"][1]


# DeLong.

@pytest.mark.parametrize("seed", [0, 1, 2])
def test_delong_matches_the_plain_computation(seed):
    a, member = sample(seed)
    b = np.round(0.5 * a + np.random.default_rng(seed).normal(size=len(a)), 1)
    difference = pair_wins(a, member) - pair_wins(b, member)
    positives, negatives = difference.shape
    variance = (difference.mean(1).var(ddof=1) / positives + difference.mean(0).var(ddof=1) / negatives)
    result = intervals.delong(a, b, member)
    assert result["difference"] == pytest.approx(difference.mean(), abs=1e-12)
    assert result["difference"] == pytest.approx(metrics.auc(a, member) - metrics.auc(b, member), abs=1e-12)
    assert result["standard_error"] == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert result["p"] == pytest.approx(2 * norm.sf(abs(difference.mean()) / np.sqrt(variance)), rel=1e-6)
    mirrored = intervals.delong(a, b, ~member)
    assert mirrored["difference"] == pytest.approx(-result["difference"], abs=1e-12)
    assert mirrored["p"] == pytest.approx(result["p"], rel=1e-9)


def test_delong_of_the_same_ranking_has_no_variance():
    scores, member = sample(0)
    assert intervals.delong(scores, 2 * scores + 1, member) == {"difference": 0.0, "standard_error": 0.0, "p": 1.0}


@pytest.mark.parametrize(("difference", "error", "p"), [(0.0, 0.0, 1.0), (0.3, 0.0, 0.0), (-1e-9, 0.0, 0.0),
                                                        (1e-17, 0.0, 1.0), (0.0, 0.1, 1.0), (0.196, 0.1, 0.05),
                                                        (-0.196, 0.1, 0.05)])
def test_two_sided_p_without_spread_is_the_limit_of_a_small_one(difference, error, p):
    assert intervals.two_sided(difference, error) == pytest.approx(p, abs=1e-4)
    if error == 0:
        assert intervals.two_sided(difference, 1e-12) == pytest.approx(p, abs=1e-4)


def test_delong_of_a_certain_difference_is_certain():
    """One attack is always right and the other always wrong: no resample could say otherwise."""
    member = np.arange(40) < 20
    right = member.astype(float)
    assert intervals.delong(right, -right, member) == {"difference": 1.0, "standard_error": 0.0, "p": 0.0}


def test_delong_needs_two_of_each():
    with pytest.raises(CompLeakError, match="two members"):
        intervals.delong([1, 2, 3], [3, 2, 1], [True, False, False])


# What is reported of an attack.

def test_evaluate_is_ready_for_json():
    scores, member = sample(7, 1200, 1000)
    result = json.loads(json.dumps(evaluate(scores, scores > 0.3, member, seed=0)))
    assert result["auc"] == metrics.auc(scores, member) and result["tpr"] == metrics.tpr_at_fpr(scores, member)
    assert result["acc"] == metrics.balanced_accuracy(scores > 0.3, member)
    assert result["tpr_1"] == metrics.tpr_at_fpr(scores, member, 0.01) > result["tpr"]
    low, high = result["tpr_1_interval"]
    assert low <= result["tpr_1"] <= high
    wins = pair_wins(scores, member)
    half = 1.959964 * np.sqrt(wins.mean(1).var(ddof=1) / 1200 + wins.mean(0).var(ddof=1) / 1000)
    np.testing.assert_allclose(result["auc_interval"], [result["auc"] - half, result["auc"] + half], rtol=1e-6)
    assert result["fpr_of_decision"] == np.mean(scores[~member] > 0.3)
    assert (result["members"], result["non_members"], result["tpr_resolvable"]) == (1200, 1000, True)
    assert not evaluate(scores[:-1], scores[:-1] > 0.3, member[:-1], seed=0)["tpr_resolvable"]


def test_evaluate_without_decisions_keeps_what_needs_none():
    scores, member = sample(8, 1200, 1000)
    result, decided = (evaluate(scores, decisions, member, seed=0) for decisions in (None, scores > 0))
    assert [result[key] for key in ("acc", "acc_interval", "fpr_of_decision")] == [None] * 3
    assert result["auc_interval"] == decided["auc_interval"] and result["tpr"] == decided["tpr"]


def test_infinite_scores_keep_their_place():
    scores, member = np.array([np.inf, 2.0, -np.inf, 1.0]), np.array([True, True, False, False])
    result = evaluate(scores, scores > 1, member, 0)
    assert result["auc"] == 1 and result["auc_interval"] == [1, 1] and result["tpr"] == 1
