"""attacks/signals.py against plain loops, known answers and extreme logits."""

import math

import numpy as np
import pytest

from attacks.features import softmax64
from attacks.signals import (
    cross_entropy,
    draw_references,
    in_references,
    label_gap,
    log_posterior,
    out_references,
    reference_mean,
)
from common.errors import CompLeakError


def test_phi_of_the_known_case_and_against_a_loop():
    assert label_gap([[1, 2, -3]], [1])[0] == pytest.approx(0.98185007, abs=5e-9)
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (50, 7)).astype(np.float32), rng.integers(7, size=50)
    loop = [float(row[y]) - math.log(sum(math.exp(float(z)) for c, z in enumerate(row) if c != y))
            for row, y in zip(logits, labels, strict=True)]
    got = label_gap(logits, labels)
    np.testing.assert_allclose(got, loop, rtol=1e-12, atol=1e-12)
    assert got.dtype == np.float64
    p = softmax64(logits)[np.arange(50), labels]
    np.testing.assert_allclose(got, np.log(p) - np.log1p(-p), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_posterior(got), np.log(p), rtol=1e-12)
    np.testing.assert_allclose(cross_entropy(logits, labels), -np.log(p), rtol=1e-12)


def test_phi_leaves_the_logits_as_they_are():
    logits = np.array([[1.0, 2.0, 3.0]])
    label_gap(logits, [0])
    np.testing.assert_array_equal(logits, [[1, 2, 3]])


def test_gaps_of_any_size_are_finite_and_keep_their_order():
    gaps = np.array([-1e5, -800, -60, -40, 0, 40, 60, 700, 1e5], np.float32)
    logits = np.stack([gaps, np.zeros_like(gaps)], axis=1)
    phi = label_gap(logits, np.zeros(len(gaps), int))
    np.testing.assert_allclose(phi, gaps)
    losses = cross_entropy(logits, np.zeros(len(gaps), int))
    assert (np.diff(losses[:-1]) < 0).all() and np.isfinite(losses).all()
    np.testing.assert_allclose(losses[[0, 1, 5, 6]], [1e5, 800, math.exp(-40), math.exp(-60)], rtol=1e-12)
    assert np.isfinite(log_posterior(phi)).all() and log_posterior(phi)[1] == -800
    with pytest.raises(CompLeakError, match="1 of 2 rows have logits"):
        label_gap([[0, 1], [np.inf, 0]], [0, 0])


def test_reference_mean_equals_the_double_loop():
    rng = np.random.default_rng(1)
    values, usable = rng.normal(size=(40, 6)), rng.random((40, 6)) < 0.5
    usable[:, 2] = True
    values[~usable] = np.nan
    loop = [sum(v for v, u in zip(row, mask, strict=True) if u) / sum(mask)
            for row, mask in zip(values, usable, strict=True)]
    np.testing.assert_allclose(reference_mean(values, usable), loop, rtol=1e-13)
    usable[3] = False
    with pytest.raises(CompLeakError, match="1 of 40 points have no reference"):
        reference_mean(values, usable)


def test_who_may_be_a_reference():
    # Worlds: the target, then three shadows; the attacked one is shadow 1, in column 2.
    trained = np.array([[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(out_references(trained, 2, disjoint=True),
                                  [[1, 0, 0, 1], [1, 1, 0, 0], [1, 1, 0, 1]])
    np.testing.assert_array_equal(out_references(trained, 2, disjoint=False),
                                  [[0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1]])
    np.testing.assert_array_equal(in_references(trained, 2), [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(out_references(trained, 0, disjoint=True), out_references(trained, 0, disjoint=False))


@pytest.mark.parametrize("disjoint", [True, False])
@pytest.mark.parametrize("player", range(4))
def test_the_targets_own_flags_are_never_read(player, disjoint):
    trained = np.random.default_rng(2).random((60, 4)) < 0.5
    flipped = trained.copy()
    flipped[:, 0] ^= True
    np.testing.assert_array_equal(out_references(trained, player, disjoint), out_references(flipped, player, disjoint))
    np.testing.assert_array_equal(in_references(trained, player), in_references(flipped, player))
    assert not out_references(trained, player, disjoint)[:, player].any()
    assert not in_references(trained, player)[:, [0, player]].any()


def test_drawn_references_have_the_shadow_games_numbers_and_each_is_as_likely():
    usable = np.ones((6000, 8), bool)
    usable[:, 0] = False
    counts = np.repeat([1, 3, 5], [1000, 2000, 1000])
    drawn = draw_references(usable, counts, seed=3)
    assert not (drawn & ~usable).any()
    values, points = np.unique(drawn.sum(1), return_counts=True)
    np.testing.assert_array_equal(values, [1, 3, 5])
    np.testing.assert_allclose(points / 6000, [0.25, 0.5, 0.25], atol=0.03)
    np.testing.assert_allclose(drawn[:, 1:].mean(0), 3 / 7, atol=0.03)
    np.testing.assert_array_equal(drawn, draw_references(usable, counts, seed=3))
    assert (drawn != draw_references(usable, counts, seed=4)).any()


def test_what_is_drawn_follows_the_shadow_game_where_points_have_unequal_numbers():
    """Shared pools: a target's point is outside each of eight shadows with chance ½, a shadow's each of seven."""
    rng = np.random.default_rng(5)
    usable = rng.random((4000, 8)) < 0.5
    usable, counts = usable[usable.any(1)], np.maximum(1, rng.binomial(7, 0.5, 4000))
    drawn = draw_references(usable, counts, seed=3).sum(1)
    assert not (drawn > usable.sum(1)).any()
    shares = [np.bincount(some, minlength=9) / len(some) for some in (drawn, counts)]
    np.testing.assert_allclose(*shares, atol=0.025)
    assert drawn.mean() == pytest.approx(counts.mean(), abs=0.05)
    few, many = (drawn[usable.sum(1) == own] for own in (3, 6))
    assert few.mean() < many.mean()


def test_a_point_with_fewer_references_keeps_all_of_them():
    usable = np.array([[True, False, True], [False, True, False]])
    np.testing.assert_array_equal(draw_references(usable, [3], seed=0), usable)
    with pytest.raises(CompLeakError, match="1 of 2 points"):
        draw_references([[True], [False]], [1], seed=0)
    with pytest.raises(CompLeakError, match="one reference or more"):
        draw_references(usable, [0, 1], seed=0)
