"""The change of loss in attacks/sr.py: the formulas, and which way they point."""

import numpy as np
import pytest

from attacks.signals import cross_entropy
from attacks.sr import SMOOTHING, loss_difference, loss_ratio
from common.metrics import auc


def test_the_formulas_row_by_row():
    original, compressed = np.array([0.0, 0.1, 2.0]), np.array([0.0, 0.4, 1.0])
    np.testing.assert_allclose(loss_difference(original, compressed), [0, 0.3, -1])
    np.testing.assert_allclose(loss_ratio(original, compressed), [1, 0.4005 / 0.1005, 1.0005 / 2.0005], rtol=1e-14)
    assert SMOOTHING == 5e-4
    assert loss_ratio([0.0], [5e-4])[0] == pytest.approx(2)


def test_float64_losses_stay_apart_where_float32_rounds_them_to_zero():
    logits = np.array([[40, 0], [60, 0]], np.float32)
    scores = loss_difference(cross_entropy(logits, [0, 0]), cross_entropy(logits / 2, [0, 0]))
    assert scores[0] > scores[1] > 0


@pytest.mark.parametrize("score", [loss_difference, loss_ratio])
def test_a_member_whose_memory_is_lost_scores_high_and_the_sign_is_never_turned(score):
    rng = np.random.default_rng(0)
    member = np.arange(2000) % 2 == 0
    hard = rng.exponential(1.0, 2000)
    original = np.where(member, 0.05 * hard, hard)
    forgotten = hard * rng.uniform(0.5, 1.2, 2000)
    assert auc(score(original, forgotten), member) > 0.9
    assert auc(score(forgotten, original), member) < 0.1  # fine-tuned further into its members: stays below a half
    null = score(hard, hard * rng.uniform(0.5, 1.5, 2000))
    assert auc(null, member) == pytest.approx(0.5, abs=0.04)
    assert auc(null, ~member) == pytest.approx(1 - auc(null, member))
