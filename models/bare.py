"""Bare arrays of answers from elsewhere: what they must be, and what they are mistaken for."""
import math

import numpy as np

from common.errors import CompLeakError
from models.queries import check_kinds, losses

# Rows whose values have one sum are posteriors: 99% of the rows within 2% of it, no value below -1e-6 of the largest
# (where rounding leaves a posterior of 0), and 10 rows at least, since fewer may do so by chance.
AROUND, ROWS, TINY, FEWEST = 0.02, 0.99, 1e-6, 10
LOSS_ABSOLUTE, LOSS_RELATIVE = 1e-3, 1e-3  # nats, and of the loss: what float16 and a mean over few rows may lose
CLIP = "np.log(np.maximum(posteriors, 1e-30))"


def check(arrays, where):
    """Raises CompLeakError, naming what is wrong, unless these arrays are answers that attacks can use."""
    check_kinds(arrays, where)
    logits, labels, index = (arrays[name] for name in ("logits", "labels", "index"))
    n, classes = len(index), logits.shape[1]
    if n == 0 or classes < 2:
        raise CompLeakError(f"{where}: logits are {logits.shape}; at least one row and two classes are needed")
    _check_finite(logits, index, where)
    _check_posteriors(logits, where)
    if labels.min() < 0 or labels.max() >= classes:
        raise CompLeakError(f"{where}: labels run from {labels.min()} to {labels.max()}, outside 0..{classes - 1}")
    if index.min() < 0 or index.max() >= 2**62 or len(np.unique(index)) != n:
        raise CompLeakError(f"{where}: index must name each row by its own whole number, 0 or more; "
                            f"{n - len(np.unique(index))} repeat, the smallest is {index.min()}")
    if "losses" in arrays:
        _check_losses(arrays["losses"], logits, labels, index, where)


def _check_finite(logits, index, where):
    with np.errstate(over="ignore"):
        values = logits.astype(np.float32)
    at = np.argwhere(~np.isfinite(values))
    if not len(at):
        return
    row, column = at[0]
    said = (f"{where}: logits must be finite float32 numbers, but row {row} (index {index[row]}) holds "
            f"{logits[row, column]:g} for class {column}, and {len(np.unique(at[:, 0])):,} row(s) hold such values")
    if np.isneginf(values).any() and values.max() <= 0 and not np.isnan(values).any():
        said += f"; −inf is the logarithm of a posterior of 0: save the logits, or {CLIP}"
    raise CompLeakError(said)


def _check_posteriors(logits, where):
    """Refuses what holds no negative number, rounding apart, and is then, by its sums or its range, no logits.

    Logarithms of posteriors are logits, and none of them is above 0; after a ReLU, rows have sums of their own.
    """
    if logits.min() < -TINY * logits.max():
        return
    remedy = (f"save the logits, or the posteriors' natural logarithm, {CLIP} (if these are logits after all, subtract "
              "1 plus the largest from all: that changes no posterior)")
    sums = np.sort(logits.sum(1, dtype=np.float64))
    together = math.ceil(ROWS * len(sums))  # rows whose sums lie side by side
    low, high = sums[: len(sums) - together + 1], sums[together - 1:]
    if len(sums) >= FEWEST and (high * (1 - AROUND) <= low * (1 + AROUND)).any():
        raise CompLeakError(f"{where}: no value of logits is below 0 and their rows sum to about "
                            f"{np.median(sums):.4g}, so they are posteriors: {remedy}")
    if logits.max() <= 1:
        raise CompLeakError(f"{where}: all values of logits lie in 0–1, so they are posteriors, a sigmoid's outputs or "
                            f"the top class's alone: {remedy}")


def _check_losses(given, logits, labels, index, where):
    own = losses(logits.astype(np.float64), labels.astype(np.int64))
    with np.errstate(invalid="ignore", over="ignore"):
        wrong = np.flatnonzero(~(np.abs(given - own) <= LOSS_ABSOLUTE + LOSS_RELATIVE * own))
    if len(wrong):
        row = wrong[0]
        raise CompLeakError(f"{where}: {len(wrong):,} of {len(own):,} losses are not the cross-entropy of their logits "
                            f"and label: row {row} (index {index[row]}) says {given[row]:g}, it is {own[row]:.6g} "
                            "nats; leave losses out, they are computed")
