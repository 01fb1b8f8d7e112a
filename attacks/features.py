"""What the classifiers see: posteriors, one-hot labels, and an original and a compressed model side by side."""

import numpy as np
from scipy.special import softmax


def softmax64(logits):
    """Posteriors in float64. logits [n,c] -> [n,c] fractions."""
    return softmax(np.asarray(logits, dtype=np.float64), axis=1)


def one_hot(labels, c):
    """Labels as rows with a single one. labels [n] int in 0..c-1 -> [n,c] float64."""
    return np.eye(c)[labels]


def train_based_features(posteriors, labels=None):
    """Inputs of the train-based attacks: posteriors [n,c], and the one-hot label when labels [n] are given: [n,2c].

    Source: Shokri et al., S&P 2017, section V (without); Nasr et al., CCS 2018, section 3 (with).
    """
    posteriors = np.asarray(posteriors, dtype=np.float64)
    if labels is None:
        return posteriors
    return np.hstack([posteriors, one_hot(labels, posteriors.shape[1])])


def sr_features(original_logits, compressed_logits, labels, with_label):
    """Inputs of the single-reference attack: SR1, or SR2 when `with_label`.

    Classes are ordered by the original's logits, descending (stable), and both models' posteriors, and the
    one-hot label of SR2, follow that one order.

    original_logits [n,c], compressed_logits [n,c], labels [n] int -> [n,2c] (SR1) or [n,3c] (SR2) float64.
    Source: CompLeak, single reference.
    """
    original_logits = np.asarray(original_logits)
    assert original_logits.shape == np.shape(compressed_logits), "one row of each model for each image"
    order = np.argsort(-original_logits, axis=1, kind="stable")
    blocks = [softmax64(original_logits), softmax64(compressed_logits)]
    if with_label:
        blocks.append(one_hot(labels, original_logits.shape[1]))
    return np.hstack([np.take_along_axis(block, order, axis=1) for block in blocks])
