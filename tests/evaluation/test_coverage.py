"""How often the 95% intervals hold the truth, by simulation: `python -m pytest -s tests/attacks/test_coverage.py`."""
import numpy as np
import pytest
from scipy.stats import norm

from common import intervals, metrics


def binormal(rng, members, non_members, shift):
    """Scores N(shift, 1) of members and N(0, 1) of non-members: AUC Φ(shift / √2), TPR Φ(shift + Φ⁻¹(FPR))."""
    member = np.arange(members + non_members) < members
    return rng.normal(size=len(member)) + shift * member, member


@pytest.mark.parametrize(("n", "shift"), [(100, 0.5), (300, 0.0), (300, 1.5)])
def test_delong_covers_the_known_auc(n, shift):
    truth, rng, covered = norm.cdf(shift / np.sqrt(2)), np.random.default_rng(0), 0
    for _ in range(500):
        low, high = intervals.auc_interval(*binormal(rng, n, n, shift))
        covered += low <= truth <= high
    print(f"AUC {truth:.3f}, {n} + {n} points: DeLong's interval holds it in {covered / 5:.1f}% of 500 draws")
    assert 0.92 <= covered / 500 <= 0.98


def test_delong_of_two_correlated_attacks_covers_their_known_difference():
    rng, covered, n = np.random.default_rng(1), 0, 200
    truth = norm.cdf(1 / np.sqrt(2)) - norm.cdf(0.5 / np.sqrt(2))
    for _ in range(500):
        shared, member = binormal(rng, n, n, 0)
        one, other = (0.8 * shared + 0.6 * rng.normal(size=2 * n) + shift * member for shift in (1, 0.5))
        result = intervals.delong(one, other, member)
        low, high = intervals.normal_interval(result["difference"], result["standard_error"])
        covered += low <= truth <= high
    assert 0.92 <= covered / 500 <= 0.98


@pytest.mark.parametrize("shift", [0.3, 1.0, 2.0])
def test_bootstrap_covers_the_known_tpr_about_as_often_as_it_says(shift):
    """10,000 non-members: ten false positives at 0.1% FPR, a hundred at 1%."""
    rng, draws, n, covered = np.random.default_rng(2), 300, 10_000, dict.fromkeys(metrics.FPRS.values(), 0)
    truth = {fpr: norm.sf(norm.isf(fpr) - shift) for fpr in covered}
    for _ in range(draws):
        scores, member = binormal(rng, n, n, shift)
        for fpr in covered:
            low, high = intervals.percentile_interval(intervals.bootstrap_tpr(scores, member, fpr, rng, 1000))
            covered[fpr] += low <= truth[fpr] <= high
    for fpr, held in covered.items():
        print(f"TPR {100 * truth[fpr]:.2f}% at {100 * fpr:g}% FPR, {metrics.allowed_false_positives(n, fpr)} false "
              f"positives: the bootstrap's interval holds it in {100 * held / draws:.1f}% of {draws} draws")
        assert 0.90 <= held / draws <= 0.98
