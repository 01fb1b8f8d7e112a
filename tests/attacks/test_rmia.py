"""attacks/rmia.py against double loops and hand-made cases."""

import numpy as np
import pytest

from attacks.rmia import choose_a, population_score, ratio
from common.errors import CompLeakError
from common.metrics import auc


def test_ratio_averages_usable_references_only():
    usable = np.array([[True, True, False], [False, True, False]])
    references = np.array([[0.2, 0.4, 0.9], [0.9, 0.5, np.nan]])
    got = ratio(np.array([0.6, 0.5], np.float32), references, usable, a=0.5)
    first = 0.5 * (1.5 * (0.2 + 0.4) / 2 + 0.5)
    second = 0.5 * (1.5 * 0.5 + 0.5)
    np.testing.assert_allclose(got, [float(np.float32(0.6)) / first, 0.5 / second], rtol=1e-14)
    assert got.dtype == np.float64


def test_a_of_one_is_the_plain_ratio_and_a_of_zero_shrinks_it():
    one = np.ones((1, 1), bool)
    assert ratio([0.8], [[0.1]], one, a=1.0)[0] == pytest.approx(8)
    assert ratio([0.8], [[0.1]], one, a=0.0)[0] == pytest.approx(0.8 / 0.55)


def test_a_point_that_every_reference_trained_on_is_refused():
    with pytest.raises(CompLeakError, match="1 of 2 points"):
        ratio([0.5, 0.5], np.ones((2, 2)), [[True, False], [False, False]], a=0.5)
    with pytest.raises(CompLeakError, match="between 0 and 1"):
        ratio([0.5], [[0.5]], [[True]], a=1.5)


@pytest.mark.parametrize("gamma", [1.0, 0.7, 2.0, 1.0 / 3.0])
def test_population_score_equals_the_double_loop(gamma):
    rng = np.random.default_rng(0)
    x, z = rng.integers(1, 30, size=80) / 7, rng.integers(1, 30, size=60) / 7
    x[:20] = gamma * z[:20]
    loop = [sum(float(a > gamma * b) for b in z) / len(z) for a in x]
    np.testing.assert_array_equal(population_score(x, z, gamma), loop)


def test_population_score_does_not_count_ties():
    np.testing.assert_array_equal(population_score([1.0, 2.0, 0.5], [1.0, 1.0, 0.6, 1.9]), [0.25, 1.0, 0.0])
    with pytest.raises(CompLeakError, match="empty"):
        population_score([1.0], [])


def test_choose_a_takes_the_highest_auc_of_the_shadow():
    rng = np.random.default_rng(1)
    hard, member = rng.uniform(0.05, 0.6, size=400), np.arange(400) % 2 == 0
    shadow = np.clip(hard * np.exp(rng.normal(0.5 * member, 0.3)), 0, 1)
    usable = np.ones((400, 1), bool)
    grid = [1.0, 0.0, 0.4, 0.7]
    areas = {a: auc(ratio(shadow, hard[:, None], usable, a), member) for a in grid}
    assert areas[choose_a(shadow, hard[:, None], usable, member, grid)] == max(areas.values())
    assert choose_a(shadow, hard[:, None], usable, member, grid) > 0
    constant = np.full((400, 1), 0.5)
    assert choose_a(shadow, constant, usable, member, grid) == 0.0
