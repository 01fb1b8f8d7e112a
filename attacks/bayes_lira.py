"""LiRA with a prior: a point's two means, of models that did and did not train on it, are drawn towards what is usual.

A handful of models give a point's means only roughly, and of several versions every direction in which they differ adds
that error. The points together say how such means are distributed, so each point's own are estimated as a compromise
between that and its models (empirical Bayes), and what stays uncertain widens the densities that are compared.
"""
import numpy as np

from attacks.joint_lira import joint_moments, log_density


def bayes_score(phi, out_phi, out, in_phi, inside):
    """ln of the likelihood of the versions' φ had the model trained on the point, over that had it not.

    Each point's means (μ_out, μ_in) are normal over the points, each model's φ is normal around them; all of that
    distribution's numbers are estimated from the other models alone. A point in whose place of a kind moved models
    stand (`signals.completed`: out and inside are the same) is no evidence for the prior.

    Args: phi [n,k] of the attacked model's versions; out_phi, in_phi [n,r,k] of the others; out, inside [n,r] bool,
        which of them stand for "did not", "did train on the point".
    Returns: [n] float64 in nats, high for members.
    Raises: CompLeakError as `joint_lira.joint_moments`.
    Source: this project's; for the prior Efron and Morris, JASA 1973 (empirical Bayes), several normal means at once.
    """
    phi, versions = np.asarray(phi, np.float64), phi.shape[1]
    (out_mean, out_noise), (in_mean, in_noise) = joint_moments(out_phi, out), joint_moments(in_phi, inside)
    seen = np.hstack([out_mean, in_mean])
    counts, kind = np.unique(np.stack([out.sum(1), inside.sum(1)], axis=1), axis=0, return_inverse=True)
    errors = np.zeros((len(counts), 2 * versions, 2 * versions))
    errors[:, :versions, :versions] = out_noise / counts[:, 0, None, None]
    errors[:, versions:, versions:] = in_noise / counts[:, 1, None, None]
    own = ~(out & inside).any(1)
    usual, spread = _prior(seen[own], errors, kind.ravel()[own])
    scores = np.empty(len(phi))
    for place, error in enumerate(errors):
        rows = kind.ravel() == place
        gain = np.linalg.solve(spread + error, spread).T
        means, left = usual + (seen[rows] - usual) @ gain.T, spread - gain @ spread
        scores[rows] = (log_density(phi[rows] - means[:, versions:], left[versions:, versions:] + in_noise)
                        - log_density(phi[rows] - means[:, :versions], left[:versions, :versions] + out_noise))
    return scores


def _prior(seen, errors, kind):
    """Mean [2k] and covariance [2k,2k] of the points' true means: what they vary by less the models' share of it."""
    share = errors[kind].mean(0)
    values, vectors = np.linalg.eigh(np.cov(seen.T) - share)
    return seen.mean(0), vectors * np.maximum(values, 0) @ vectors.T
