"""Batched crop, flip and normalisation on the device that trains: no worker processes, no per-picture calls."""
from functools import lru_cache

import torch
from torch.nn import functional as F

PAD = 4
# Fixed views of a picture, near ones first: (rows, columns that it is shifted by, whether mirrored). The picture itself
# is none of them.
_RINGS = ([(0, 0)], [(0, 1), (0, -1), (1, 0), (-1, 0)], [(1, 1), (1, -1), (-1, 1), (-1, -1)])
VIEWS = tuple((*shift, flip) for ring in _RINGS for flip in (False, True) for shift in ring)[1:]


def crop_and_flip(images, offsets, flips):
    """Cut each picture out of its zero-padded self at its own offset, mirrored where asked.

    images [n, h, w, c] uint8 · offsets [n, 2] integer (row, column) in 0..2·PAD · flips [n] bool, all on one
    device → [n, h, w, c] uint8. PAD, PAD is the picture itself.
    """
    n, height, width, _ = images.shape
    padded = F.pad(images, (0, 0, PAD, PAD, PAD, PAD))
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = offsets[:, 1:] + torch.where(flips[:, None], width - 1 - columns, columns)
    return padded[torch.arange(n, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def view(images, number):
    """Pictures [n, h, w, c] uint8 as one of VIEWS shows them, black where a shift leaves nothing: the same shape."""
    rows, columns, flip = VIEWS[number]
    offsets = torch.tensor([[PAD - rows, PAD - columns]], device=images.device).expand(len(images), 2)
    return crop_and_flip(images, offsets, torch.full((len(images),), flip, device=images.device))


def draw(n, generator):
    """Offsets [n, 2] int64 and flips [n] bool from a seeded CPU generator: uniform crops, fair coins."""
    offsets = torch.randint(0, 2 * PAD + 1, (n, 2), generator=generator)
    flips = torch.randint(0, 2, (n,), generator=generator, dtype=torch.bool)
    return offsets, flips


def normalise(images, mean, std):
    """Pictures [n, h, w, 3] uint8 → [n, 3, h, w] float32 in channels_last, (x/255 − mean) / std per channel."""
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), images.device)
    return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _scale_and_shift(mean, std, device):
    """The two constants [3] on a device, kept there: making them waits until a GPU has done all it was given."""
    return (torch.tensor([1 / (255 * s) for s in std], device=device),
            torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device))
