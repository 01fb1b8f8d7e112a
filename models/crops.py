"""The crops of the released protocol: which crop of a member a model is shown, and the answers that this adds."""
from dataclasses import dataclass

import numpy as np
import torch

from common.errors import FileError
from common.files import load_arrays
from common.paths import ORIGINAL
from common.provenance import identity
from common.seeds import derive_seed
from data.augment import crop_and_flip, draw

AUGMENTED = "augmented_members"
FILE = "crops.npz"
BATCH = 250


@dataclass(frozen=True)
class Crops:
    """What a model answers beside its queries; rows are a world's scored ones, ascending by index.

    others: {world: logits [m, c] float32} of every other world's rows, shown as to that world's own model of the same
    version · losses [d, m] float32 in nats of the model's own rows in d fresh draws, equal for non-members.
    """

    others: dict
    losses: np.ndarray

    @property
    def identity(self):
        return identity({**self.others, "losses": self.losses}, {})


def shown(images, version, world, seed):
    """The pictures as a version's models of a world are shown them: the compressed ones share their draw of crops."""
    kind = str(version) if version == ORIGINAL else "compressed"
    return augmented(images, world.members, derive_seed(seed, kind, world.name, "crops"))


def shown_afresh(images, version, world, seed, number):
    """The pictures in a draw of one model's own, the number-th."""
    return augmented(images, world.members, derive_seed(seed, str(version), world.name, "fresh crops", number))


def augmented(images, rows, seed):
    """A copy of the pictures [*, h, w, 3] uint8 in which those at `rows` are cropped and flipped as in training."""
    images = np.array(images)
    offsets, flips = draw(len(rows), torch.Generator().manual_seed(seed))
    for start in range(0, len(rows), BATCH):  # all at once would take several times the pictures' memory
        some = slice(start, start + BATCH)
        images[rows[some]] = crop_and_flip(torch.from_numpy(images[rows[some]]), offsets[some], flips[some]).numpy()
    return images


def load_crops(path):
    """(Crops, meta) of a file; FileError where it is missing or damaged."""
    arrays, meta = load_arrays(path)
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.ndim != 2 or not np.isfinite(array).all():
            raise FileError.damaged(path, f"{name} is {array.dtype} {array.shape}, not rows of finite numbers")
    if "losses" not in arrays:
        raise FileError.damaged(path, "it has no losses")
    losses = arrays.pop("losses")
    return Crops(arrays, losses), meta
