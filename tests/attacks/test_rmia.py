"""attacks/rmia.py against double loops and hand-made cases."""

import numpy as np
import pytest

from attacks.rmia import log_ratio, mirror, population_score
from attacks.signals import log_posterior
from common.errors import CompLeakError
from common.metrics import auc, balanced_accuracy


def ratio(p, references, usable, a):
    """The ratio itself, from posteriors."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.exp(log_ratio(np.log(np.asarray(p, float)), np.log(references), usable, a))


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


def test_a_is_the_smallest_of_those_with_the_highest_auc_of_the_shadow():
    game, member = play(np.random.default_rng(1), 400, 0.0, 1)
    alike = game[0], np.full((400, 1), np.log(0.5)), np.ones((400, 1), bool)
    assert mirror([alike], [member], np.ones((1, 1)), [1.0, 0.0, 0.4, 0.7]).a == 0.0


def test_a_reference_of_zero_is_neither_nan_nor_an_error():
    one = np.ones((3, 1), bool)
    np.testing.assert_array_equal(ratio([0.0, 0.3, 0.0], [[0.0], [0.0], [0.2]], one, a=1.0), [1, np.inf, 0])
    np.testing.assert_allclose(ratio([0.0, 0.3, 0.0], [[0.0], [0.0], [0.2]], one, a=0.5), [0, 1.2, 0], rtol=1e-14)
    tiny = np.full((1, 1), 5e-324)
    assert ratio([1.0], tiny, [[True]], a=1.0)[0] == np.inf


def test_the_ratio_is_the_formula_of_the_paper():
    rng = np.random.default_rng(2)
    p, references, usable = rng.random(300), rng.random((300, 5)), rng.random((300, 5)) < 0.7
    usable[:, 0] = True
    for a in (0.0, 0.3, 0.5, 1.0):
        loop = [x / (0.5 * ((1 + a) * row[mask].mean() + 1 - a))
                for x, row, mask in zip(p, references, usable, strict=True)]
        np.testing.assert_allclose(ratio(p, references, usable, a), loop, rtol=1e-13)
        np.testing.assert_allclose(log_ratio(np.log(p), np.log(references), usable, a), np.log(loop), atol=1e-13)


@pytest.mark.parametrize("a", [0.0, 0.5, 1.0])
def test_from_logits_no_gap_underflows(a):
    gaps = np.array([-2000.0, -900, -800, -1, 0, 40, 900])
    p = log_posterior(gaps)
    own, reference = (part.ravel() for part in np.meshgrid(p, p))
    scores = log_ratio(own, reference[:, None], np.ones((49, 1), bool), a)
    assert np.isfinite(scores).all()
    below = scores.reshape(7, 7)[:, :5]
    assert (np.diff(below, axis=1) > 0).all()  # where posteriors underflow, the likelier target still ranks higher


def play(rng, rows, leak, references):
    """One shadow's game: ln p of itself and of its references, which of them are usable, its members."""
    member, hard = rng.random(rows) < 0.5, rng.normal(0, 2, rows)
    usable = rng.random((rows, references)) < 0.4
    usable[:, 0] = True
    own = log_posterior(hard + leak * member + rng.normal(0, 0.5, rows))
    others = log_posterior(hard[:, None] + rng.normal(0, 0.5, (rows, references)))
    return (own, others, usable), member


def test_the_mirrored_game_of_several_shadows_equals_the_plain_search():
    rng = np.random.default_rng(3)
    games, members = zip(*(play(rng, rows, 1.0, references) for rows, references in ((150, 4), (100, 3))), strict=True)
    grid, target_usable = [0.0, 1.0, 0.8, 0.4], np.ones((20, 5), bool)
    target_usable[:7, 4] = False
    found = mirror(games, members, target_usable, grid)
    member, plain = np.concatenate(members), {}
    for a in grid:
        plain[a] = np.concatenate([[x - np.log(0.5 * ((1 + a) * np.exp(row[mask]).mean() + 1 - a))
                                    for x, row, mask in zip(*game, strict=True)] for game in games])
    areas = {a: auc(scores, member) for a, scores in plain.items()}
    assert auc(found.scores, member) == pytest.approx(max(areas.values())) and areas[found.a] == max(areas.values())
    assert areas[found.a] > max(areas[0.0], areas[1.0])  # neither the first nor the smallest of the grid
    gain = {t: balanced_accuracy(plain[found.a] >= t, member) for t in plain[found.a]}
    assert gain[min(gain, key=lambda t: abs(t - found.cut))] == max(gain.values())
    assert found.target_references == {4: 7, 5: 13}
    counts = np.concatenate([game[2].sum(1) for game in games])
    assert found.shadow_references == {int(c): int((counts == c).sum()) for c in set(counts)}


def test_a_cut_from_more_references_differs_from_one_of_a_single_reference():
    rng = np.random.default_rng(4)
    games, members = zip(*(play(rng, 400, 2.0, 6) for _ in range(2)), strict=True)
    member = np.concatenate(members)
    alone = [(own, others[:, :1], usable[:, :1]) for own, others, usable in games]
    several, single = (mirror(part, members, np.ones((1, 1)), [0.5]) for part in (games, alone))
    assert several.cut != single.cut and auc(several.scores, member) > auc(single.scores, member)
    assert single.shadow_references == {1: 800} and several.a == 0.5


def test_in_a_null_game_the_area_is_a_half_and_swapped_members_mirror_it():
    rng = np.random.default_rng(5)
    game, member = play(rng, 4000, 0.0, 3)
    found, swapped = (mirror([game], [flags], np.ones((1, 1)), [0.5]) for flags in (member, ~member))
    area = auc(found.scores, member)
    assert area == pytest.approx(0.5, abs=0.03) and auc(swapped.scores, ~member) == pytest.approx(1 - area)
