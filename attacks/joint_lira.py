"""LiRA on several versions at once: the vector of φ under the original and its compressed versions.

Versions of one model share most of what training left to chance, so their φ vary together, and k versions are worth
less than k models. The covariance says how much less: independent noise of equal size makes members stand out √k times
as far, noise that is the same in every version adds nothing.
"""

import numpy as np
from sklearn.covariance import ledoit_wolf

from attacks.lira import SMALLEST_VARIANCE, checked_mask
from common.errors import CompLeakError

# A correlation matrix keeps at least this much on its diagonal alone, so that equal versions can be inverted too.
RIDGE = 1e-9


def joint_moments(phi, mask):
    """Mean φ of each version for each point, and the versions' covariance around it, pooled over points and shrunk.

    The residuals are those of `lira.moments`' pooled variance, so one version gives exactly that. Shrinking is done on
    versions scaled to equal variance: the scale of a version's logits must not decide how much it is shrunk.

    Args: phi [n,r,k] of k versions of r models; mask [n,r] bool, the models to use for the point.
    Returns: mean [n,k], covariance [k,k], float64.
    Raises: CompLeakError if a point has no model, or none has two.
    Source: Ledoit and Wolf, Journal of Multivariate Analysis 2004, for the shrinkage; the joint score is this
        project's.
    """
    phi = np.asarray(phi, np.float64)
    mask, count = checked_mask(mask)
    assert phi.shape[:2] == mask.shape and phi.ndim == 3, "k versions of each model for each point"
    freedom = int((count - 1).sum())
    if freedom == 0:
        raise CompLeakError("a joint covariance needs two models of one kind or more for a point")
    mean = _mean(phi, mask)
    rows = np.nonzero(mask)
    residuals = phi[rows] - mean[rows[0]]
    scale = np.sqrt(np.maximum((residuals ** 2).sum(0) / freedom, SMALLEST_VARIANCE))
    residuals *= np.sqrt(len(residuals) / freedom) / scale
    correlation, _ = ledoit_wolf(residuals, assume_centered=True)
    correlation[np.diag_indices_from(correlation)] += RIDGE
    return mean, correlation * np.outer(scale, scale)


def online_joint_score(phi, phi_references, out, inside):
    """ln of the likelihood of the versions' φ among models that trained on the point over that among the others.

    Args: phi [n,k] of the attacked model's versions; phi_references [n,r,k]; out [n,r] and inside [n,r] bool, True
        where the reference did not, or did, train on the point.
    Returns: [n] float64 in nats, high for members.
    Raises: CompLeakError as `joint_moments`.
    """
    phi = np.asarray(phi, np.float64)
    (of_in, in_noise), (of_out, out_noise) = (joint_moments(phi_references, mask) for mask in (inside, out))
    return log_density(phi - of_in, in_noise) - log_density(phi - of_out, out_noise)


def log_density(away, covariance):
    """ln of the normal density [n] of distances from its mean [n,k], without its constant: half the squared
    Mahalanobis distance, half ln |Σ|."""
    distance = np.einsum("nk,nk->n", away, np.linalg.solve(covariance, away.T).T)
    return -0.5 * distance - 0.5 * np.linalg.slogdet(covariance)[1]


def member_shift(phi, phi_references, out, member):
    """δ: how far a member's φ lies above its references', more than a non-member's does, in each version.

    From the mirrored game, where a shadow is attacked and the attacker knows its members.

    Args: phi [m,k] of the shadow's versions on its own points; phi_references [m,r,k]; out [m,r] bool; member [m]
        bool of the shadow.
    Returns: [k] float64 in nats.
    Raises: CompLeakError if a point has no usable reference, or all points are of one kind.
    """
    out, member = checked_mask(out)[0], np.asarray(member).astype(bool)
    if member.all() or not member.any():
        raise CompLeakError(f"a member shift needs members and non-members, got {int(member.sum())} members in "
                            f"{len(member)} points")
    above = np.asarray(phi, np.float64) - _mean(phi_references, out)
    return above[member].mean(0) - above[~member].mean(0)


def offline_joint_score(phi, phi_references, out, shift):
    """(φ − μ_out)ᵀ Σ_out⁻¹ δ, the best linear score where members and non-members differ by the shift δ.

    Args: phi, phi_references, out as `online_joint_score`; shift [k] from `member_shift`.
    Returns: [n] float64, high for members.
    Raises: CompLeakError as `joint_moments`.
    """
    mean, covariance = joint_moments(phi_references, out)
    return (np.asarray(phi, np.float64) - mean) @ np.linalg.solve(covariance, shift)


def _mean(phi, mask):
    return np.einsum("nrk,nr->nk", np.where(mask[..., None], phi, 0), mask) / mask.sum(1)[:, None]
