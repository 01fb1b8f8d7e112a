"""How much a point's loss changes from the original to its compressed version: scores that need no fitting.

Both are high for members, and that is fixed before any result is seen. The original fitted its members far below the
loss that their difficulty would give; compressing takes memory of single pictures away before it takes what is common
to a class, so a member's loss rises from nearly nothing. A non-member's loss owes nothing to memory: it moves either
way, and a compressed model, less sure of itself, even lowers the largest ones. Fine-tuning on the members works
against this. Where it wins, the AUC is below 50% and stays there: a sign chosen by the target's membership would not
be an attack.
"""

import numpy as np

SMOOTHING = 5e-4  # c in nats: what a loss of 0 counts as


def loss_difference(original_losses, compressed_losses):
    """ℓ_c − ℓ_o: original_losses [n], compressed_losses [n] in nats, float64 from logits -> [n] float64 in nats.

    Source: Jagielski et al., PoPETs 2023, for a model before and after an update; the orientation is this project's.
    """
    original, compressed = _pair(original_losses, compressed_losses)
    return compressed - original


def loss_ratio(original_losses, compressed_losses):
    """(ℓ_c + c) / (ℓ_o + c) with c = 5e-4: the same losses in nats -> [n] float64, positive.

    Source: as `loss_difference`.
    """
    original, compressed = _pair(original_losses, compressed_losses)
    return (compressed + SMOOTHING) / (original + SMOOTHING)


def _pair(original, compressed):
    original, compressed = np.asarray(original, np.float64), np.asarray(compressed, np.float64)
    assert original.shape == compressed.shape, "one loss of each model for each image"
    return original, compressed
