"""attacks/bayes_lira.py: what a prior over the points' means is worth, by simulation. A plain loop gives its scores in
test_lira_game.py."""
import numpy as np
import pytest

from attacks.bayes_lira import bayes_score
from attacks.joint_lira import online_joint_score
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
    return (auc(bayes_score(own, phi, ~trained, phi, trained), member),
            auc(online_joint_score(own, phi, ~trained, trained), member))


def test_with_few_models_the_prior_finds_more_and_with_many_it_does_not_matter():
    (few, without), (many, plain) = areas(1, 6), areas(1, 200, points=1000)
    assert few > without + 0.02 and many == pytest.approx(plain, abs=0.003)


def test_versions_that_add_noise_to_each_points_means_still_add_with_a_prior():
    one, several = areas(1, 6), areas(6, 6)
    assert several[0] > one[0] + 0.1 and several[0] > several[1] + 0.02


def test_null_models_give_a_half_and_exchanged_kinds_mirror():
    own, phi, trained, member = worlds(3, 8, shift=0.0)
    scores = bayes_score(own, phi, ~trained, phi, trained)
    assert auc(scores, member) == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(bayes_score(own, phi, trained, phi, ~trained), -scores, atol=1e-8)


def test_points_with_one_kind_of_model_are_no_evidence_for_the_prior():
    own, phi, trained, _ = worlds(2, 8, points=500)
    out, inside = ~trained, trained.copy()
    scores = bayes_score(own, phi, out, phi, inside)
    # Ten points more, whose OUT stands for IN too, far from all others: only the models' noise may feel them.
    far = np.concatenate([phi, phi[:10] + 1000])
    both = [np.concatenate([mask, out[:10]]) for mask in (out, inside)]
    more = bayes_score(np.concatenate([own, own[:10]]), far, both[0], far, both[1])
    np.testing.assert_allclose(more[:500], scores, atol=0.1)
    assert np.isfinite(more).all()
