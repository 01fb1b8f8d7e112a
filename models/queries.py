"""What an attacker sees of a model: its answers to every picture, and how they move under noise."""
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from common.errors import CompLeakError, FileError
from common.files import FORMAT, load_arrays
from common.provenance import holds, identity
from common.seeds import derive_seed
from data.augment import normalise, view
from models import protocol

BATCH = 250
SENSITIVITY_SAMPLES = 10
SENSITIVITY_EPSILON = 1e-3
ASKED = {"samples": SENSITIVITY_SAMPLES, "epsilon": SENSITIVITY_EPSILON}  # how sensitivities are measured
ARRAYS = {  # name: (kinds of NumPy's, dimensions, both in words, meaning)
    "logits": ("f", 2, "floating-point, [n, classes]",
               "the model's outputs before softmax (or the natural logarithms of its posteriors)"),
    "labels": ("iu", 1, "whole numbers, [n]", "true class of each row, 0 to classes - 1"),
    "index": ("iu", 1, "whole numbers, [n]", "which input a row is about: one input has one number in every file"),
    "member": ("b", 1, "bool, [n]", "whether this model was trained on the row"),
    "scored": ("b", 1, "bool, [n]", "may be scored, else only compared with (default: all)"),
    "losses": ("f", 1, "floating-point, [n]", "cross-entropy in nats, checked where given (default: computed)")}
OPTIONAL = ("scored", "losses")


@dataclass(frozen=True)
class Queries:
    """One model's answers, rows aligned and ascending by index (design: Queries).

    logits [n, c] float32 · losses [n] float32, nats · labels [n] int64 · index [n] int64, position in the pooled
    data set · member [n] bool · meta: what the file was made from.
    """

    logits: np.ndarray
    losses: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    member: np.ndarray
    meta: dict

    @cached_property
    def identity(self):
        """Names these answers, whatever model gave them: their own bytes and how they were asked."""
        arrays = {name: getattr(self, name) for name in ("logits", "labels", "index", "member")}
        return identity(arrays, {"choices": self.asked})

    @property
    def asked(self):
        """The released protocol's choices that these answers were asked under, in its order."""
        return [choice for choice in protocol.QUERIES if self.meta.get(choice)]

    def holds(self, index):
        """Whether all of these pictures were queried."""
        return bool(np.isin(index, self.index).all())

    def at(self, index):
        """(logits [m, c], labels [m], member [m]) of these pictures; errors as `rows`."""
        rows = self.rows(index)
        return self.logits[rows], self.labels[rows], self.member[rows]

    def rows(self, index):
        """Positions [m] of these pictures; CompLeakError for one that was not queried."""
        at = np.minimum(np.searchsorted(self.index, index), len(self.index) - 1)
        if not np.array_equal(self.index[at], index):
            missing = int((self.index[at] != index).sum())
            raise CompLeakError(f"{missing} of the pictures asked for are not in the queries of "
                                f"{self.meta.get('variant')}/{self.meta.get('world')}: query again with --query_rows "
                                "all")
        return at


@contextmanager
def precise():
    """Makes float32 mean float32 on a GPU for a while: no TF32 in matrix products or convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def query(model, images, statistics, index, device, description="queries"):
    """Logits [n, c] float32 of the pictures at `index`, in evaluation mode, in plain float32.

    images [*, h, w, 3] uint8 is the whole data set, index [n] int64 ascending.
    """
    return logits_of(model, pictures(images, statistics, index, device), len(index), description)


def query_views(model, images, statistics, index, device, count, description="views"):
    """As `query`, of the first `count` of `data.augment.VIEWS` of each picture: logits [n, count, c] float32."""

    def take(number):
        return lambda part: normalise(view(torch.from_numpy(images[index[part]]).to(device), number), *statistics)

    return np.stack([logits_of(model, take(number), len(index), f"{description} {1 + number}")
                     for number in range(count)], axis=1)


def pictures(images, statistics, index, device):
    """take(slice of positions in `index`) → the model's input, normalised pictures [b, 3, h, w] on the device."""
    return lambda part: normalise(torch.from_numpy(images[index[part]]).to(device), *statistics)


@precise()
@torch.inference_mode()
def logits_of(model, take, n, description):
    """Logits [n, c] float32 of n inputs that take(slice) gives a batch at a time, in plain float32."""
    starts = tqdm(range(0, n, BATCH), desc=description, unit="batch", mininterval=1)
    return torch.cat([model(take(slice(start, start + BATCH))).float().cpu() for start in starts]).numpy()


@precise()
@torch.inference_mode()
def sensitivity_of(model, take, index, seed, description):
    """How far each posterior moves under Gaussian noise on the model's input x, a row each of `index`: [n, c] float32.

    s_c = 1/(mε) Σ_i |p_c(x + ε u_i) − p_c(x)| with m = 10, ε = 1e-3 (Yuan & Zhang, USENIX Security 2022). The noise
    comes from (seed, row's index), so every model sees the same. take(slice of positions) gives x.
    """
    results, per_batch = [], BATCH // SENSITIVITY_SAMPLES
    for start in tqdm(range(0, len(index), per_batch), desc=description, unit="batch", mininterval=1):
        part = slice(start, start + per_batch)
        x, rows = take(part), index[part]
        shape = (SENSITIVITY_SAMPLES, *x.shape[1:])
        u = torch.from_numpy(np.stack([noise(seed, row, shape) for row in rows])).to(x.device)
        moved = (x[:, None] + SENSITIVITY_EPSILON * u).flatten(0, 1)
        if moved.dim() == 4:
            moved = moved.contiguous(memory_format=torch.channels_last)
        still = model(x).double().softmax(1)
        p = model(moved).double().softmax(1).view(len(rows), SENSITIVITY_SAMPLES, -1)
        results.append(((p - still[:, None]).abs().mean(1) / SENSITIVITY_EPSILON).float().cpu())
    return torch.cat(results).numpy()


def noise(seed, row, shape):
    """Standard normal float32 noise for one picture, the same for every model and device."""
    key = derive_seed(seed, "sensitivity", int(row))
    return np.random.Generator(np.random.Philox(key)).standard_normal(shape, dtype=np.float32)


def losses(logits, labels):
    """Cross-entropy of each row in nats, [n] float32, from logits [n, c] in float64."""
    logits, labels = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    return F.cross_entropy(logits, labels, reduction="none").float().numpy()


def check_kinds(arrays, where, names=tuple(ARRAYS)):
    """Raises CompLeakError unless these of ARRAYS, [n] with n as in index, are there; OPTIONAL ones may lack."""
    missing = [name for name in names if name not in arrays and name not in OPTIONAL]
    if missing:
        raise CompLeakError(f"{where}: lacks {', '.join(missing)}; logits, labels, index, member are needed")
    n = len(np.atleast_1d(arrays["index"]))
    for name in names:
        letters, ndim, wanted, _ = ARRAYS[name]
        array = arrays.get(name)
        if array is not None and (array.dtype.kind not in letters or array.ndim != ndim or len(array) != n):
            raise CompLeakError(f"{where}: {name} is {array.dtype} {array.shape}; it must be {wanted}, n = {n} as in "
                                "index")


def load_queries(path):
    """The Queries in a file, their shapes and types checked; FileError where they are not what they should be."""
    names = ("logits", "losses", "labels", "index", "member")
    arrays, meta = load_arrays(path, names)
    try:
        check_kinds(arrays, "queries", names)
    except CompLeakError as error:
        raise FileError.damaged(path, error) from None
    bad = np.flatnonzero(~np.isfinite(arrays["logits"]).all(1))
    if len(bad):
        raise FileError.damaged(path, f"logits must be finite, and in {len(bad):,} row(s) are not: the first is row "
                                f"{bad[0]}, index {arrays['index'][bad[0]]}")
    if (np.diff(arrays["index"]) <= 0).any():
        raise FileError.damaged(path, "index must be ascending without repeats")
    return Queries(**arrays, meta=meta)


def is_current(path, meta, index=None):
    """Whether a file of arrays is there, whole, was made from exactly this, and holds these rows, maybe more."""
    if not Path(path).exists():
        return False
    try:
        arrays, found = load_arrays(path)
    except FileError as error:
        print(f"{error}; making it again")
        return False
    whole = index is None or bool(np.isin(index, arrays["index"]).all())
    return whole and holds(found, {"format": FORMAT, **meta}, apart=("rows",))
