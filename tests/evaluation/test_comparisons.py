"""evaluation/comparisons.py against hand values, plain computations and simulation."""
import numpy as np
import pytest
from scipy.stats import norm, t

from common import intervals, metrics
from evaluation.comparisons import (
    EQUIVALENCE,
    EVERY_NR,
    PICTURES,
    SUPPORTED,
    UNDECIDED,
    Pair,
    combine,
    compare,
    equivalence,
    hardest,
    holm,
    judge,
    measure,
    over_runs,
    parts,
    sees_nothing,
    shared_error,
    strictest,
)

A, B, C = ("SR", "v", "a"), ("NR", "v", "b"), ("NR", "v", "c")


def drawn(seed, shifts, n=1200, shared=0.8):
    """({key: scores}, member) of correlated attacks with these separations of members from non-members."""
    rng, member = np.random.default_rng(seed), np.arange(2 * n) < n
    common = rng.normal(size=2 * n)
    return {key: shared * common + np.sqrt(1 - shared**2) * rng.normal(size=2 * n) + shift * member
            for key, shift in shifts.items()}, member


def rows_of(metric, pairs, seeds, shifts):
    keys = list(dict.fromkeys(key for pair in pairs for key in (pair.attack, pair.against)))
    return compare(metric, pairs, [measure(metric, *drawn(seed, shifts), keys, seed, 500) for seed in seeds])


@pytest.mark.parametrize(("p", "adjusted"), [
    # The steps by hand: 0.005·5, 0.01·4, 0.03·3, then the largest so far.
    ([0.01, 0.04, 0.03, 0.005, 0.5], [0.04, 0.09, 0.09, 0.025, 0.5]),
    ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]), ([0.5, 0.9], [1, 1]), ([0.03], [0.03]), ([], [])])
def test_holm_by_hand(p, adjusted):
    np.testing.assert_allclose(holm(p), adjusted, atol=1e-12)


def test_holm_does_not_depend_on_the_order():
    p = np.random.default_rng(0).random(40) ** 3
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_array_equal(holm(p)[order], holm(p[order]))
    assert (holm(p) >= p).all() and (holm(p) <= np.minimum(1, 40 * p)).all()


@pytest.mark.parametrize(("mean", "error"), [(0.004, 0.003), (-0.004, 0.003), (0.02, 0.003), (0.0, 0.01), (-0.02, 0.1)])
def test_equivalence_is_two_one_sided_tests(mean, error):
    inside, outside = equivalence(mean, error, 0.01)
    assert inside == pytest.approx(max(norm.sf((mean + 0.01) / error), norm.cdf((mean - 0.01) / error)))
    assert outside == pytest.approx(min(1, 2 * norm.sf((abs(mean) - 0.01) / error)))


def test_equivalence_without_any_spread_is_certain():
    assert equivalence(0.0, 0.0) == (0.0, 1.0) and equivalence(0.02, 0.0) == (1.0, 0.0)


def test_equivalence_rejects_at_the_margin_as_often_as_it_says():
    """At a true difference of just the margin, two one-sided tests at 5% call it equivalent in 5% of draws."""
    means = np.random.default_rng(0).normal(0.01, 0.002, 1500)
    assert np.mean([equivalence(mean, 0.002)[0] < 0.05 for mean in means]) == pytest.approx(0.05, abs=0.017)


def test_runs_that_share_pictures_are_no_new_evidence_of_these():
    scores, member = drawn(0, {A: 1.0, B: 0.8})
    run = measure("auc", scores, member, [A, B], 0)
    same = {**run, PICTURES: (np.flatnonzero(member), np.flatnonzero(~member))}
    apart = {**run, PICTURES: tuple(rows + 5000 for rows in same[PICTURES])}
    for against in (None, B):
        alone = over_runs("auc", [run], A, against)
        assert over_runs("auc", [same] * 4, A, against)["error"] == pytest.approx(alone["error"])
        assert over_runs("auc", [same, apart], A, against)["error"] == pytest.approx(alone["error"] / 2**0.5)
        assert over_runs("auc", [same] * 4, A, against)["mean"] == alone["mean"]
    assert over_runs("auc", [same] * 4, A, B)["df"] == np.inf  # without spread the points' interval is the wider
    turned = {**measure("auc", {A: scores[A]}, ~member, [A], 0), PICTURES: same[PICTURES][::-1]}  # luck cancels
    assert over_runs("auc", [{**one, PICTURES: same[PICTURES]} for one in (run, turned)], A)["df"] == 1  # their spread
    assert shared_error([(one[A], (0, 0)) for one in (same, turned)], [same[PICTURES], turned[PICTURES]]) < (
        0.2 * over_runs("auc", [run], A)["error"])


@pytest.mark.parametrize("metric", ["auc", "tpr"])
def test_targets_that_differ_are_judged_by_their_spread(metric):
    """Interval, p and verdict are Student's where that interval is the wider, for TPR too."""
    runs = []
    for seed, strength in enumerate((3.2, 2.0, 2.1)):
        scores, member = drawn(seed, {A: strength, B: 2.0})
        runs.append({**measure(metric, scores, member, [A, B], seed, 200),
                     PICTURES: (np.flatnonzero(member), np.flatnonzero(~member))})
    apart = [{key: value for key, value in run.items() if key != PICTURES} for run in runs]
    (shared,), (alone,) = (compare(metric, [Pair("C2", "v", EVERY_NR, A, B)], some) for some in (runs, apart))
    mean, error = np.mean(shared["per_seed"]), np.std(shared["per_seed"], ddof=1) / np.sqrt(3)
    assert shared["interval"] == pytest.approx(t.interval(0.95, 2, mean, error))
    assert shared["p"] == pytest.approx(2 * t.sf(mean / error, 2)) and shared["verdict"] == UNDECIDED
    assert alone["verdict"] == SUPPORTED and alone["difference"] == shared["difference"]


def test_seeds_are_combined_as_means_of_differences_and_variances():
    assert combine([0.1, 0.3], [0.04, 0.02]) == pytest.approx((0.2, np.sqrt(0.03 / 2)))
    runs = [drawn(seed, {A: 0.9, B: 0.5}) for seed in (1, 2, 3)]
    single = [intervals.delong(scores[A], scores[B], member) for scores, member in runs]
    row = rows_of("auc", [Pair("C2", "v", EVERY_NR, A, B)], (1, 2, 3), {A: 0.9, B: 0.5})[0]
    expected = [one["difference"] for one in single]
    error = np.sqrt(np.mean([one["standard_error"] ** 2 for one in single]) / 3)
    assert row["per_seed"] == pytest.approx(expected) and row["difference"] == pytest.approx(np.mean(expected))
    assert row["error"] == pytest.approx(error) and row["spread"] == pytest.approx(np.std(expected, ddof=1))
    np.testing.assert_allclose(row["interval"], np.mean(expected) + np.array([-1, 1]) * 1.959964 * error, rtol=1e-5)
    assert row["p"] == pytest.approx(2 * norm.sf(abs(np.mean(expected)) / error))


def test_scores_of_seeds_on_other_scales_are_not_mixed():
    """An attack whose scores move between seeds, but not their order, gives the same answer."""
    pairs, keys = [Pair("C2", "v", EVERY_NR, A, B)], [A, B]
    found = []
    for scale, offset in ((1, 0), (1000, -5000)):
        runs = [drawn(seed, {A: 0.9, B: 0.5}) for seed in (1, 2)]
        runs[1][0][A] = scale * runs[1][0][A] + offset
        for metric in ("auc", "tpr"):
            found.append(compare(metric, pairs, [measure(metric, *run, keys, i, 300) for i, run in enumerate(runs)])[0])
    assert found[0]["difference"] == pytest.approx(found[2]["difference"], abs=1e-12)
    assert found[1]["difference"] == found[3]["difference"] and found[1]["interval"] == found[3]["interval"]


def test_tpr_averages_the_replicates_of_the_runs():
    shifts = {A: 2.0, B: 1.0}
    runs = [drawn(seed, shifts) for seed in (1, 2)]
    measured = [measure("tpr", *run, [A, B], seed, 400) for seed, run in enumerate(runs)]
    replicates = [intervals.paired_tprs([scores[A], scores[B]], member, 0.001, seed, 400)
                  for seed, (scores, member) in enumerate(runs)]
    averaged = np.mean([one[0] - one[1] for one in replicates], axis=0)
    found = over_runs("tpr", measured, A, B)
    assert found["interval"] == intervals.percentile_interval(averaged)
    assert found["error"] == pytest.approx(averaged.std(ddof=1))
    assert found["per_seed"] == [metrics.tpr_at_fpr(scores[A], member) - metrics.tpr_at_fpr(scores[B], member)
                                 for scores, member in runs]
    alone = [over_runs("tpr", [one], A, B)["error"] for one in measured]
    assert found["error"] == pytest.approx(np.sqrt(np.mean(np.square(alone)) / 2), rel=0.2)


@pytest.mark.parametrize("metric", ["auc", "tpr"])
def test_a_planted_difference_is_found_on_either_side_and_the_same_attack_is_undecided(metric):
    shifts, seeds = {A: 2.5, B: 0.5}, (1, 2)
    for attack, against, sign, word in ((A, B, 1, "supported"), (B, A, 1, "contradicted"), (B, A, -1, "supported"),
                                        (A, A, 1, "undecided")):
        row = rows_of(metric, [Pair("C2", "v", EVERY_NR, attack, against, sign)], seeds, shifts)[0]
        assert row["verdict"] == word
        assert (row["p"] == 1) == (attack == against)
    mirrored = [drawn(seed, shifts) for seed in seeds]
    measured = [measure("auc", scores, ~member, [A, B], 0) for scores, member in mirrored]
    assert compare("auc", [Pair("C2", "v", EVERY_NR, A, B)], measured)[0]["verdict"] == "contradicted"


@pytest.mark.parametrize("metric", ["auc", "tpr"])
def test_attacks_that_are_equally_good_are_rarely_told_apart(metric):
    """40 pairs of attacks of one strength, each tested alone: 5% of them may be called different."""
    pair = Pair("C2", "v", EVERY_NR, A, B)
    called = [rows_of(metric, [pair], [seed], {A: 1.0, B: 1.0})[0]["p"] < 0.05 for seed in range(40)]
    assert np.sum(called) <= 6  # a binomial of 40 and 0.05 is above that in 0.3% of cases


def test_each_claim_is_a_family_of_its_own():
    shifts = {A: 0.9, B: 0.7, C: 0.72}
    pairs = [Pair("C2", "v", EVERY_NR, A, B), Pair("C2", "v", EVERY_NR, A, C), Pair("C3", "g", EVERY_NR, A, B)]
    rows = rows_of("auc", pairs, [5], shifts)
    np.testing.assert_allclose([row["p_holm"] for row in rows[:2]], holm([row["p"] for row in rows[:2]]))
    assert rows[2]["p_holm"] == rows[2]["p"] == rows[0]["p"]


def test_equivalence_is_supported_contradicted_or_undecided():
    pairs = [Pair("C1", "v", EQUIVALENCE, A, B)]
    scores, member = drawn(1, {A: 1.0, B: 1.0}, n=4000)
    near = scores[A] + 1e-3 * np.random.default_rng(0).normal(size=8000)
    words = [compare("auc", pairs, [measure("auc", {A: scores[A], B: other}, member, [A, B], 0)])[0]["verdict"]
             for other in (near, scores[A] + 0.5 * member, scores[B])]
    assert words[:2] == ["supported", "contradicted"]
    few, of = drawn(1, {A: 1.0, B: 1.0}, n=100)
    assert compare("auc", pairs, [measure("auc", few, of, [A, B], 0)])[0]["verdict"] == "undecided"


def test_an_attack_that_sees_nothing_does_not_count_unless_it_contradicts():
    shifts = {A: 0.0, B: 0.0, C: 1.0}
    for metric in ("auc", "tpr"):
        measured = [measure(metric, *drawn(3, shifts), [A, B, C], 0, 400)]
        assert sees_nothing(metric, measured, B) and not sees_nothing(metric, measured, C)
    blind, seeing = Pair("C1", "v", EVERY_NR, A, B, -1, True), Pair("C1", "v", EVERY_NR, A, C, -1, True)
    rows = rows_of("auc", [blind, seeing], [3], shifts)
    assert [row["counts"] for row in rows] == [False, True] and judge(rows) == "supported"
    assert rows[0]["verdict"] == "undecided" and hardest(rows) is rows[1]
    rows = rows_of("auc", [Pair("C1", "v", EVERY_NR, C, A, -1, True), seeing], [3], shifts)
    assert [row["counts"] for row in rows] == [False, True] and judge(rows) == "contradicted"
    assert judge(rows[:1]) == "contradicted" and judge([{**rows[0], "verdict": "undecided"}]) == "undecided"


@pytest.mark.parametrize(("words", "strict"), [
    (["supported"] * 3, "supported"), (["supported", "undecided"], "undecided"), ([], "undecided"),
    (["supported", "undecided", "contradicted"], "contradicted")])
def test_strictest(words, strict):
    assert strictest(words) == strict


def test_parts_join_what_is_judged_together():
    shifts = {A: 1.0, B: 0.5, C: 0.6}
    rows = rows_of("auc", [Pair("C2", "v", EVERY_NR, A, B), Pair("C2", "v", EVERY_NR, A, C),
                           Pair("C2", "v", EVERY_NR, C, B), Pair("C1", "v", EVERY_NR, A, B, -1),
                           Pair("C1", "v", EVERY_NR, C, B, -1)], [0], shifts)
    found = parts(rows)
    assert [[(row["claim"], row["attack"]) for row in part] for part in found] == [
        [("C2", A), ("C2", A)], [("C2", C)], [("C1", A), ("C1", C)]]
    assert hardest(found[0])["against"] == min(rows[:2], key=lambda row: row["difference"])["against"]
    assert hardest(found[2])["attack"] == max(rows[3:], key=lambda row: row["difference"])["attack"]
