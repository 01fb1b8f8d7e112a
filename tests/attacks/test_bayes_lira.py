"""attacks/bayes_lira.py: what a prior over the points' means is worth, by simulation. A plain loop gives its scores in
test_lira_game.py."""
import numpy as np
import pytest

from attacks.bayes_lira import bayes_score
from attacks.joint_lira import online_joint_score
from common.errors import CompLeakError
from common.metrics import auc


def worlds(versions, models, points=4000, shift=1.0, seed=0):
    """φ of an attacked model [n,k], of others [n,r,k], who trained on what, members: difficult points shift less."""
    rng = np.random.default_rng(seed)
    trained, member = rng.random((points, models)) < 0.5, rng.random(points) < 0.5
    trained[:, :2], trained[:, 2:4] = True, False
    hard = rng.normal(0, 3, points)

    def phi(flags):
        noise = rng.normal(size=(*flags.shape, versions))
        return (hard + shift * flags.T * (1 - 0.1 * hard)).T[..., None] + noise

    return phi(member), phi(trained), trained, member


def areas(versions, models, **more):
    """(AUC with the prior, with each point's own means alone)."""
    own, phi, trained, member = worlds(versions, models, **more)
    return (auc(bayes_score(own, phi, ~trained, trained), member),
            auc(online_joint_score(own, phi, ~trained, trained), member))


def test_with_few_models_the_prior_finds_more_and_with_many_it_does_not_matter():
    (few, without), (many, plain) = areas(1, 6), areas(1, 200, points=1000)
    assert few > without + 0.02 and many == pytest.approx(plain, abs=0.003)


def test_versions_that_add_noise_to_each_points_means_still_add_with_a_prior():
    one, several = areas(1, 6), areas(6, 6)
    assert several[0] > one[0] + 0.1 and several[0] > several[1] + 0.02


def test_null_models_give_a_half_and_exchanged_kinds_mirror():
    own, phi, trained, member = worlds(3, 8, shift=0.0)
    scores = bayes_score(own, phi, ~trained, trained)
    assert auc(scores, member) == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(bayes_score(own, phi, trained, ~trained), -scores, atol=1e-8)


def test_the_scale_and_the_order_of_versions_change_no_score_and_equal_versions_are_one():
    own, phi, trained, _ = worlds(3, 8, points=500)
    scores = bayes_score(own, phi, ~trained, trained)
    scale = np.array([1.0, 50.0, 0.02])
    np.testing.assert_allclose(bayes_score(own * scale, phi * scale, ~trained, trained), scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bayes_score(own[:, ::-1], phi[..., ::-1], ~trained, trained), scores, atol=1e-8)
    one, three = (bayes_score(own[:, places], phi[..., places], ~trained, trained) for places in ([0], [0, 0, 0]))
    assert np.corrcoef(one, three)[0, 1] > 0.9999


def test_what_a_point_lacks_is_the_priors_and_no_evidence_for_it():
    own, phi, trained, member = worlds(2, 8, points=500)
    scores = bayes_score(own, phi, ~trained, trained)
    # Ten points more without IN, far from all others.
    far = np.concatenate([phi, phi[:10] + 1000])
    out, inside = (np.concatenate([mask, mask[:10]]) for mask in (~trained, trained))
    inside[500:] = False
    more = bayes_score(np.concatenate([own, own[:10] + 1000]), far, out, inside)
    np.testing.assert_allclose(more[:500], scores, atol=0.1)
    half = np.arange(500) < 250
    lacking = bayes_score(own, phi, ~trained, trained & half[:, None])
    assert auc(scores[~half], member[~half]) > auc(lacking[~half], member[~half]) > 0.6


def test_too_few_points_with_both_kinds_are_refused():
    own, phi, trained, _ = worlds(2, 8, points=5)
    with pytest.raises(CompLeakError, match="1 of 5 have them"):
        bayes_score(own, phi, ~trained, trained & (np.arange(5) == 0)[:, None])
