"""What one model says about an image's true label, in float64 from logits, and what its references say of it.

Everywhere logits [n,c] · labels [n] int in 0..c-1 · usable [n,r] bool: whether a reference did not train on the point;
CompLeakError for logits that are not finite, and for a point without a usable reference.
"""

import numpy as np
from scipy.special import logsumexp

from common.errors import CompLeakError

TARGET = 0  # its place among the worlds: the shadows follow


def label_gap(logits, labels):
    """φ, the true logit above all others together: z_y − ln Σ_{c≠y} exp(z_c), which is ln p_y − ln(1 − p_y).

    From logits it stays finite and keeps its digits where p_y is 0 or 1 to rounding. [n] float64 in nats, high where
    the model is sure of the true label.
    Source: Carlini et al., S&P 2022, section IV-C (the logit-scaled confidence).
    """
    others = np.array(logits, dtype=np.float64)
    assert others.ndim == 2 and others.shape[1] > 1 and len(others) == len(labels), "a label and c > 1 logits a row"
    if not np.isfinite(others).all():
        raise CompLeakError(f"{int((~np.isfinite(others)).any(1).sum())} of {len(others)} rows have logits that are "
                            "not finite")
    true = np.arange(len(others)), np.asarray(labels)
    of_label = others[true]
    others[true] = -np.inf
    return of_label - logsumexp(others, axis=1)


def log_posterior(gap):
    """ln p_y from φ: gap [n] -> [n] float64 in nats, finite, at most 0. Its negative is the cross-entropy."""
    return -np.logaddexp(0, -np.asarray(gap, dtype=np.float64))


def cross_entropy(logits, labels):
    """Loss of the true label, −ln p_y, [n] float64 in nats: logit gaps of 40 and of 60, equal in float32, differ."""
    return -log_posterior(label_gap(logits, labels))


def out_references(trained, player, disjoint):
    """Which models may stand for "did not train on this point" when one world's model is attacked.

    Whoever attacks a shadow asks the other shadows that did not train on the point and, where the target's pool and
    the attacker's never meet, the target: he knows that it did not train on his own pool. With shared pools he does
    not, so there the target is never a reference. The target's own flags are what an attack is to find out: they are
    not read, whatever they hold.

    trained [n,w] bool, column 0 the target, then the shadows: the world's model trained on the point · player: the
    attacked world's column · disjoint: whether the two pools never meet, so that every point of a shadow is outside the
    target's. Gives [n,w] bool, the player's own column False.
    Source: Watson et al., ICLR 2022; Zarifzadeh et al., ICML 2024, section 3 (offline references).
    """
    usable = ~np.asarray(trained).astype(bool)
    usable[:, TARGET] = disjoint
    usable[:, player] = False
    return usable


def in_references(trained, player):
    """Which shadows trained on the point, without the player and without reading the target's flags: [n,w] bool."""
    usable = np.array(trained).astype(bool)
    usable[:, [TARGET, player]] = False
    return usable


def completed(phi, mask, others):
    """A point without a model of one kind takes those of the other kind, less the mean difference of the two kinds.

    Which models train on a point is random, so the kinds differ in the mean by training alone. Only shadows are read.

    phi [n,r], or [n,r,k] of k versions; mask [n,r] bool, the wanted kind (did not train on the point, say); others
    [n,r] bool, the other kind. Gives phi and mask; a point with neither kind stays without.
    """
    phi, mask = np.array(phi, dtype=np.float64), np.asarray(mask).astype(bool)
    moved = ~mask.any(1, keepdims=True) & others
    if moved.any() and mask.any():
        phi[moved] -= phi[others].mean(0) - phi[mask].mean(0)
        mask = mask | moved
    return phi, mask


def reference_mean(values, usable):
    """r(x), the mean of a signal (φ, as a rule) over the references that a point may use: [n] float64.

    values [n,r], one version of each reference, anything (NaN too) where not usable.
    Source: Watson et al., ICLR 2022, section 3 (difficulty calibration).
    """
    values, usable = np.asarray(values, dtype=np.float64), checked_usable(usable)
    assert values.shape == usable.shape, "a value of each reference for each point"
    return np.where(usable, values, 0).sum(1) / usable.sum(1)


def checked_usable(usable):
    """usable as bool; CompLeakError for a point without a usable reference."""
    usable = np.asarray(usable).astype(bool)
    lacking = int((~usable.any(1)).sum())
    if lacking:
        raise CompLeakError(f"{lacking} of {len(usable)} points have no reference model that did not train on them")
    return usable


def draw_references(usable, counts, seed):
    """A random choice of each point's references, as many as a point of another game has.

    A target's point may use every shadow, a shadow's point fewer models: a mean over more references varies less, and
    an attack fitted on the one would meet something else in the other. So the target's points share out as many numbers
    drawn from the shadow game's, the larger to those that have more (all of its own where a point has fewer), and each
    draws which ones: [n,r] bool, within `usable`. counts [m] int, at least 1: the references of each point of the
    shadow game.
    """
    usable, counts = checked_usable(usable), np.asarray(counts)
    if len(counts) == 0 or counts.min() < 1:
        raise CompLeakError("the shadow game's points need one reference or more each")
    rng = np.random.default_rng(seed)
    wanted = np.empty(len(usable), dtype=np.int64)
    wanted[np.lexsort([rng.random(len(usable)), usable.sum(1)])] = np.sort(rng.choice(counts, size=len(usable)))
    order = np.where(usable, rng.random(usable.shape), 2).argsort(1)
    chosen = np.zeros_like(usable)
    np.put_along_axis(chosen, order, np.arange(usable.shape[1]) < wanted[:, None], axis=1)
    return chosen & usable
