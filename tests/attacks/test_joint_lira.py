"""attacks/joint_lira.py: what versions add, by simulation, and what one version comes down to."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from attacks import lira
from attacks.joint_lira import joint_moments, member_shift, offline_joint_score, online_joint_score
from common.errors import CompLeakError
from common.metrics import auc

SHIFT = 0.8


def worlds(versions, shared, points=3000, models=16, shift=SHIFT, seed=0):
    """φ of an attacked model [n,k] and of others [n,r,k], who trained on what, members; `shared`: noise in common."""
    rng = np.random.default_rng(seed)
    hard, trained, member = rng.normal(0, 3, points), rng.random((points, models)) < 0.5, rng.random(points) < 0.5
    trained[:, :2], trained[:, 2:4] = True, False

    def phi(flags):
        shape = flags.shape
        noise = np.sqrt(shared) * rng.normal(size=(*shape, 1)) + np.sqrt(1 - shared) * rng.normal(
            size=(*shape, versions))
        return hard.reshape(-1, *[1] * (len(shape))) + shift * flags[..., None] + noise

    return phi(member), phi(trained), trained, member


def distance(scores, member):
    """d′: how far members stand from non-members, in standard deviations of the scores."""
    inside, outside = scores[member], scores[~member]
    return (inside.mean() - outside.mean()) / np.sqrt((inside.var() + outside.var()) / 2)


def both_scores(own, phi, trained, member):
    """Offline with the shift from a game of its own points, and online."""
    shift = member_shift(own, phi, ~trained, member)
    return offline_joint_score(own, phi, ~trained, shift), online_joint_score(own, phi, ~trained, trained)


@pytest.mark.parametrize("versions", [4, 9])
def test_independent_noise_in_k_versions_gains_the_root_of_k_and_equal_noise_nothing(versions):
    alone, apart, equal = (both_scores(*(made := worlds(k, shared)), ) + (made[3],)
                           for k, shared in ((1, 0), (versions, 0), (versions, 1)))
    for which in (0, 1):
        one = distance(alone[which], alone[2])
        assert distance(apart[which], apart[2]) / one == pytest.approx(np.sqrt(versions), rel=0.08)
        assert distance(equal[which], equal[2]) / one == pytest.approx(1, rel=0.08)


def test_half_shared_noise_gains_what_the_covariance_says():
    own, phi, trained, member = worlds(4, 0.5, points=6000)
    expected = SHIFT / np.sqrt(0.5 + 0.5 / 4)  # the mean of four: shared part as it is, the rest divided
    # Each point's mean of about eight models has noise of its own, an eighth of a variance.
    assert distance(both_scores(own, phi, trained, member)[0], member) == pytest.approx(expected / np.sqrt(9 / 8),
                                                                                        rel=0.05)


def test_one_version_is_pooled_lira():
    own, phi, trained, _ = worlds(1, 0, points=200)
    np.testing.assert_allclose(online_joint_score(own, phi, ~trained, trained),
                               lira.online_score(own[:, 0], phi[..., 0], ~trained, trained), rtol=1e-7, atol=1e-7)
    joint = offline_joint_score(own, phi, ~trained, [1.0])
    plain = lira.offline_score(own[:, 0], phi[..., 0], ~trained)
    np.testing.assert_allclose(joint * lira.moments(phi[..., 0], ~trained, "pooled")[1], plain, rtol=1e-7)


def test_scores_equal_a_loop_over_points():
    own, phi, trained, member = worlds(3, 0.3, points=400)
    phi_unread = np.where(trained[..., None], np.nan, phi)
    residuals, means, freedom = [], [], 0
    for row, flags in zip(phi, trained, strict=True):
        group = row[~flags]
        means.append(group.mean(0))
        residuals += [np.outer(x - group.mean(0), x - group.mean(0)) for x in group]
        freedom += len(group) - 1
    mean, covariance = joint_moments(phi_unread, ~trained)
    np.testing.assert_allclose(mean, means, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(covariance, sum(residuals) / freedom, atol=0.01)  # but for the shrinking
    np.testing.assert_allclose(np.diag(covariance), np.diag(sum(residuals) / freedom), rtol=0.02)
    above = own - np.array(means)
    shift = member_shift(own, phi_unread, ~trained, member)
    np.testing.assert_allclose(shift, above[member].mean(0) - above[~member].mean(0), rtol=1e-10)
    np.testing.assert_allclose(shift, SHIFT, atol=0.3)
    loop = [x @ np.linalg.inv(covariance) @ shift for x in above]
    np.testing.assert_allclose(offline_joint_score(own, phi_unread, ~trained, shift), loop, rtol=1e-6, atol=1e-9)
    inside = joint_moments(phi, trained)
    loop = [multivariate_normal.logpdf(x, i, inside[1]) - multivariate_normal.logpdf(x, o, covariance)
            for x, i, o in zip(own, inside[0], mean, strict=True)]
    np.testing.assert_allclose(online_joint_score(own, phi, ~trained, trained), loop, rtol=1e-6, atol=1e-8)


def test_few_residuals_are_shrunk_towards_versions_that_vary_apart():
    own, phi, trained, _ = worlds(6, 0.9, points=4, models=5)
    _, few = joint_moments(phi, ~trained)
    own, phi, trained, _ = worlds(6, 0.9, points=4000, models=5)
    _, many = joint_moments(phi, ~trained)
    off = ~np.eye(6, dtype=bool)
    assert many[off].mean() / np.diag(many).mean() == pytest.approx(0.9, abs=0.02)
    assert few[off].mean() / np.diag(few).mean() < 0.88 and np.linalg.eigvalsh(few).min() > 0.01


def test_the_scale_of_a_versions_logits_changes_no_score():
    own, phi, trained, member = worlds(3, 0.3, points=300)
    scale = np.array([1.0, 50.0, 0.02])
    for plain, scaled in zip(both_scores(own, phi, trained, member),
                             both_scores(own * scale, phi * scale, trained, member), strict=True):
        np.testing.assert_allclose(scaled, plain, rtol=1e-6, atol=1e-6)


def test_null_versions_give_a_half_and_swapped_labels_mirror():
    own, phi, trained, member = worlds(4, 0.5, shift=0.0)
    game = worlds(4, 0.5, shift=0.0, seed=1)
    shift = member_shift(game[0], game[1], ~game[2], game[3])
    offline = offline_joint_score(own, phi, ~trained, shift)
    online = online_joint_score(own, phi, ~trained, trained)
    assert auc(offline, member) == pytest.approx(0.5, abs=0.03) and auc(online, member) == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(member_shift(game[0], game[1], ~game[2], ~game[3]), -shift)
    np.testing.assert_allclose(offline_joint_score(own, phi, ~trained, -shift), -offline)
    np.testing.assert_allclose(online_joint_score(own, phi, trained, ~trained), -online)


def test_what_cannot_be_estimated_is_refused():
    own, phi, trained, member = worlds(2, 0, points=10)
    with pytest.raises(CompLeakError, match="1 or more models"):
        offline_joint_score(own, phi, np.zeros_like(trained), np.ones(2))
    with pytest.raises(CompLeakError, match="two models"):
        offline_joint_score(own, phi[:, :1], np.ones((10, 1), bool), np.ones(2))
    with pytest.raises(CompLeakError, match="members and non-members"):
        member_shift(own, phi, ~trained, np.ones(10, bool))
