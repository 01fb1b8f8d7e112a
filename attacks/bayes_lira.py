"""LiRA with a prior: a point's two means, of models that did and did not train on it, are drawn towards what is usual.

A handful of models give a point's means only roughly, and of several versions every direction in which they differ adds
that error. The points together say how such means are distributed, so each point's own are estimated as a compromise
between that and its models (empirical Bayes), and what stays uncertain widens the densities that are compared.
"""
import numpy as np

from attacks.joint_lira import joint_moments, log_density
from common.errors import CompLeakError


def bayes_score(phi, phi_references, out, inside):
    """ln of the likelihood of the versions' φ had the model trained on the point, over that had it not.

    Each point's means (μ_out, μ_in) are normal over the points, each model's φ is normal around them; all of that
    distribution's numbers are estimated from the other models alone. What a point lacks, its mean of one kind or both,
    the prior gives.

    Args: phi [n,k] of the attacked model's versions; phi_references [n,r,k] of the others; out, inside [n,r] bool,
        True where the reference did not, or did, train on the point.
    Returns: [n] float64 in nats, high for members.
    Raises: CompLeakError as `joint_lira.joint_moments`, and if fewer than two points have models of both kinds.
    Source: this project's; for the prior Efron and Morris, JASA 1973 (empirical Bayes), several normal means at once.
    """
    phi, versions = np.asarray(phi, np.float64), phi.shape[1]
    kinds = slice(versions), slice(versions, None)
    seen, noises = np.zeros((len(phi), 2 * versions)), []
    for kind, mask in zip(kinds, (out, inside), strict=True):
        has = mask.any(1)
        seen[has, kind], noise = joint_moments(phi_references[has], mask[has])
        noises.append(noise)
    counts, group = np.unique(np.stack([out.sum(1), inside.sum(1)], axis=1), axis=0, return_inverse=True)
    group, errors = group.ravel(), np.zeros((len(counts), 2 * versions, 2 * versions))
    for number, (kind, noise) in enumerate(zip(kinds, noises, strict=True)):
        errors[:, kind, kind] = noise / np.maximum(counts[:, number], 1)[:, None, None]
    both = counts.all(1)[group]
    if both.sum() < 2:
        raise CompLeakError(f"a prior needs two points with models of both kinds: {both.sum()} of {len(phi)} have them")
    usual, spread = _prior(seen[both], errors[group[both]].mean(0))
    scores = np.empty(len(phi))
    for place, (error, count) in enumerate(zip(errors, counts, strict=True)):
        rows, has = group == place, np.repeat(count > 0, versions)
        gain = np.linalg.solve((spread + error)[has][:, has], spread[has]).T
        means, left = usual + (seen[rows] - usual)[:, has] @ gain.T, spread - gain @ spread[has]
        given_out, given_in = (log_density(phi[rows] - means[:, kind], left[kind, kind] + noise)
                               for kind, noise in zip(kinds, noises, strict=True))
        scores[rows] = given_in - given_out
    return scores


def _prior(seen, share):
    """Mean [2k] and covariance [2k,2k] of the points' true means: what those seen [n,2k] vary by, less the models'
    share [2k,2k] of it; measured in that share, so that the scale of a version's logits does not matter."""
    root = np.linalg.cholesky(share)
    whitened = np.linalg.solve(root, np.linalg.solve(root, np.cov(seen.T)).T)
    values, vectors = np.linalg.eigh(whitened)
    vectors = root @ vectors
    return seen.mean(0), vectors * np.maximum(values - 1, 0) @ vectors.T
