"""LiRA, the likelihood-ratio attack, on φ: each point against the models that did, and did not, train on it."""

import numpy as np

from common.errors import CompLeakError

VARIANCES = ("example", "pooled", "global")
# Logits are float32: a spread of φ below their rounding (1e-6 of about 10) cannot be told from none.
SMALLEST_VARIANCE = 1e-12


def moments(phi, mask, variance):
    """Mean of φ over the models in `mask` for each point, and the standard deviation around it.

    variance "example": of each point by itself, denominator n_x − 1, the pooled one where a point has a single model.
    "pooled": one for all points, the mean squared residual about each point's own mean, denominator Σ(n_x − 1), so that
    a point's difficulty does not count as spread. "global": one for all, about the mean of everything, so that it does.

    Args: phi [n,r]; mask [n,r] bool, the models that trained on the point (IN) or those that did not (OUT);
        variance, one of VARIANCES.
    Returns: mean [n], standard deviation [n], float64 in nats.
    Raises: CompLeakError if a point has no model, or there is nothing to take a variance of.
    Source: Carlini et al., S&P 2022, sections IV and VI-A; "pooled" is this project's.
    """
    mask, count = checked_mask(mask)
    phi = np.where(mask, np.asarray(phi, np.float64), 0)
    mean = phi.sum(1) / count
    if variance == "global":
        every = phi[mask]
        squares, freedom = np.sum((every - every.mean()) ** 2), np.array(len(every) - 1)
    else:
        squares, freedom = (np.where(mask, phi - mean[:, None], 0) ** 2).sum(1), count - 1
        pooled = freedom == 0 if variance == "example" else True
        squares, freedom = (np.where(pooled, part.sum(), part) for part in (squares, freedom))
    if not freedom.all():
        raise CompLeakError(f"a {variance} variance needs two models of one kind or more for a point")
    deviation = np.sqrt(np.maximum(squares / freedom, SMALLEST_VARIANCE))
    return mean, np.broadcast_to(deviation, mean.shape)


def checked_mask(mask):
    """mask [n,r] as bool and its models per point [n]; CompLeakError if a point has none."""
    mask = np.asarray(mask).astype(bool)
    count = mask.sum(1)
    lacking = int((count == 0).sum())
    if lacking:
        raise CompLeakError(f"LiRA needs 1 or more models of a kind for each point: {lacking} of {len(mask)} points "
                            "have none")
    return mask, count


def offline_score(phi, phi_references, out, variance="pooled"):
    """z = (φ − μ_out) / σ_out. Never its probability: that is 1 to rounding from z = 8 on, and ranks no more.

    Args: phi [n] of the attacked model; phi_references [n,r]; out [n,r] bool, True where the reference did not train
        on the point (`signals.out_references`); variance as in `moments`.
    Returns: [n] float64, high for members.
    Raises: CompLeakError as `moments`.
    Source: Carlini et al., S&P 2022, section IV-D (offline).
    """
    mean, deviation = moments(phi_references, out, variance)
    return (np.asarray(phi, np.float64) - mean) / deviation


def online_score(phi, phi_references, out, inside, variance="pooled"):
    """ln of the likelihood of φ among models that trained on the point over that among models that did not.

    Args: phi, phi_references, out, variance as `offline_score`; inside [n,r] bool, True where the reference trained
        on the point (`signals.in_references`).
    Returns: [n] float64 in nats, high for members.
    Raises: CompLeakError as `moments`.
    Source: Carlini et al., S&P 2022, section IV-B, algorithm 1 (online).
    """
    phi = np.asarray(phi, np.float64)
    return (_log_density(phi, *moments(phi_references, inside, variance))
            - _log_density(phi, *moments(phi_references, out, variance)))


def _log_density(phi, mean, deviation):
    """ln of the normal density, without its constant, which a likelihood ratio does not need."""
    return -0.5 * ((phi - mean) / deviation) ** 2 - np.log(deviation)
