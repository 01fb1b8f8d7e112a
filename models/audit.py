"""Models made elsewhere: ask any PyTorch module, read bare files of answers, and find the rows that can be scored."""
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from common.errors import CompLeakError
from common.files import FORMAT, read_npz, save_arrays
from common.provenance import digest
from common.seeds import derive_seed
from data.splits import SCORED_AT_MOST, Split, check_disjoint, make_world
from models.queries import logits_of, losses, sensitivity_of

KINDS = {"logits": ("f", 2, "floating-point, [n, classes]"), "labels": ("iu", 1, "whole numbers, [n]"),
         "index": ("iu", 1, "whole numbers, [n]"), "member": ("b", 1, "bool, [n]")}
OPTIONAL = {"losses": ("f", 1, "floating-point, [n]"), "scored": ("b", 1, "bool, [n]")}
FEWEST = 10


@dataclass(frozen=True)
class Outputs:
    """One model's answers from elsewhere, rows ascending by index, n rows of c classes.

    logits [n, c] float32 · losses [n] float32, nats · labels, index [n] int64 · member [n] bool: this model trained
    on it · scored [n] bool: may be scored, not only asked for comparison · sensitivity (index [m], values [m, c]) or
    None · path: for messages.
    """

    path: Path
    logits: np.ndarray
    losses: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    member: np.ndarray
    scored: np.ndarray
    sensitivity: tuple | None

    @property
    def weights(self):
        """16 hex digits that name these answers, and so stand for the model that gave them."""
        parts = (self.logits, self.losses, self.labels, self.index, self.member, self.scored, *(self.sensitivity or ()))
        return digest(*parts)


def ask(model, inputs, labels, member, index, folder, scored=None, sensitivity=True, seed=0):
    """Ask any PyTorch module and write folder/queries.npz, and folder/sensitivity.npz where asked for.

    model: [b, …] → logits [b, c]; asked in evaluation mode, on its parameters' device, and left as it was. inputs
    [n, …]: a tensor as the module expects it, the same transform for members and non-members; labels [n] in 0..c-1;
    member [n] bool: this model trained on it; index [n]: one number for one input in every file. scored [n] bool:
    rows that attacks may score, default all; sensitivities (ten queries a row, on the input as given, so normalised
    inputs are meant) are measured for those. Raises CompLeakError for arrays that do not fit.
    """
    labels, member, index = np.asarray(labels), np.asarray(member), np.asarray(index)
    scored = np.ones(len(index), bool) if scored is None else np.asarray(scored)
    if index.shape != (len(inputs),):
        raise CompLeakError(f"{len(inputs)} inputs and index {index.shape}: give one whole number for each input")
    if sensitivity and not torch.is_floating_point(inputs):
        raise CompLeakError(f"inputs are {inputs.dtype}: sensitivities need floating-point ones (or sensitivity=False)")
    order = np.argsort(index, kind="stable")
    with _evaluation(model) as device:
        logits = logits_of(model, _take(inputs, order, device), len(index), "queries")
        check({"logits": logits, "labels": labels, "index": index, "member": member, "scored": scored}, "ask")
        arrays = {"logits": logits, "labels": labels[order].astype(np.int64), "index": index[order].astype(np.int64),
                  "member": member[order], "scored": scored[order]}
        meta = {"made_by": "models.audit.ask", "weights": digest(logits, arrays["index"])}
        save_arrays(Path(folder) / "queries.npz", meta, losses=losses(logits, arrays["labels"]), **arrays)
        if sensitivity:
            rows = order[arrays["scored"]]
            moved = sensitivity_of(model, _take(inputs, rows, device), index[rows], seed, "sensitivity")
            save_arrays(Path(folder) / "sensitivity.npz", {**meta, "seed": seed}, index=index[rows].astype(np.int64),
                        sensitivity=moved)


def _take(inputs, rows, device):
    return lambda part: inputs[torch.from_numpy(rows[part]).to(inputs.device)].to(device)


@contextmanager
def _evaluation(model):
    """Puts a module into evaluation mode for a while; gives the device of its parameters."""
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    modes = [module.training for module in modules]
    first = next(model.parameters(), None) if modules else None
    try:
        for module in modules[:1]:
            module.eval()
        yield torch.device("cpu") if first is None else first.device
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def check(arrays, where):
    """Raises CompLeakError, naming what is wrong, unless these arrays are answers that attacks can use."""
    missing = [name for name in KINDS if name not in arrays]
    if missing:
        raise CompLeakError(f"{where}: lacks {', '.join(missing)}; {', '.join(KINDS)} are needed")
    n = len(np.atleast_1d(arrays["index"]))
    for name, (kinds, ndim, wanted) in (KINDS | OPTIONAL).items():
        array = arrays.get(name)
        if array is not None and (array.dtype.kind not in kinds or array.ndim != ndim or len(array) != n):
            raise CompLeakError(f"{where}: {name} is {array.dtype} {array.shape}; it must be {wanted}, n = {n} as in "
                                "index")
    logits, labels, index = (arrays[name] for name in ("logits", "labels", "index"))
    classes = logits.shape[1]
    if n == 0 or classes < 2:
        raise CompLeakError(f"{where}: logits are {logits.shape}; at least one row and two classes are needed")
    with np.errstate(over="ignore"):
        finite = np.isfinite(logits.astype(np.float32)).all()
    if not finite:
        raise CompLeakError(f"{where}: logits must be finite float32 numbers")
    if logits.min() >= 0 and np.allclose(logits.sum(1), 1, atol=1e-3):
        raise CompLeakError(f"{where}: the rows of logits sum to 1, so they are posteriors: save the logits, or the "
                            "posteriors' natural logarithm")
    if labels.min() < 0 or labels.max() >= classes:
        raise CompLeakError(f"{where}: labels run from {labels.min()} to {labels.max()}, outside 0..{classes - 1}")
    if index.min() < 0 or index.max() >= 2**62 or len(np.unique(index)) != n:
        raise CompLeakError(f"{where}: index must name each row by its own whole number, 0 or more; "
                            f"{n - len(np.unique(index))} repeat, the smallest is {index.min()}")
    if not (np.isfinite(arrays.get("losses", 0)) | np.isposinf(arrays.get("losses", 0))).all():
        raise CompLeakError(f"{where}: losses must be numbers (nats), not NaN")


def read_outputs(path, sensitivity_path=None):
    """The Outputs in an .npz file: logits, labels, index, member, and where they are there losses, scored, meta.

    sensitivity_path: a file of index and sensitivity, read where it exists. Raises CompLeakError, naming the file.
    """
    arrays, meta = read_npz(path)
    if "format" in meta and meta["format"] != FORMAT:
        raise CompLeakError(f"{path} has format {meta['format']!r}, this version reads {FORMAT}")
    check(arrays, path)
    order = np.argsort(arrays["index"], kind="stable")
    kept = {name: arrays[name][order] for name in {*KINDS, *OPTIONAL} & arrays.keys()}
    kept |= {"logits": kept["logits"].astype(np.float32), "labels": kept["labels"].astype(np.int64),
             "index": kept["index"].astype(np.int64)}
    kept.setdefault("losses", losses(kept["logits"], kept["labels"]))
    kept.setdefault("scored", np.ones(len(order), bool))
    moved = None
    if sensitivity_path is not None and Path(sensitivity_path).exists():
        moved = _read_sensitivity(sensitivity_path, meta, kept)
    return Outputs(Path(path), sensitivity=moved, **{**kept, "losses": kept["losses"].astype(np.float32)})


def _read_sensitivity(path, meta, kept):
    arrays, own = read_npz(path, ("index", "sensitivity"))
    index, values = arrays["index"], arrays["sensitivity"]
    if own.get("format", FORMAT) != FORMAT or own.get("weights") != meta.get("weights"):
        raise CompLeakError(f"{path} is of another format or model than queries.npz beside it: make both again")
    if index.ndim != 1 or values.shape != (len(index), kept["logits"].shape[1]) or not np.isfinite(values).all() \
            or not np.isin(index, kept["index"]).all() or len(np.unique(index)) != len(index):
        raise CompLeakError(f"{path}: sensitivity is {values.shape}; it must be finite, one row of "
                            f"{kept['logits'].shape[1]} classes for each of its own {index.shape} indices")
    order = np.argsort(index)
    return index[order].astype(np.int64), values[order].astype(np.float32)


def own_split(target, shadows, data_fingerprint, seed):
    """The Split of answers made elsewhere: whom attacks are scored on (target) and fitted on (shadows, maybe none).

    The target is scored on rows that no shadow trained on, a shadow on rows that the target did not. Rows that both
    sides may use as non-members go where members outnumber non-members, never to both. Raises CompLeakError where
    fewer than FEWEST members or non-members remain.
    """
    trained = np.concatenate([np.empty(0, np.int64), *(shadow.index[shadow.member] for shadow in shadows)])
    mine = _sides(target, trained)
    others = [_sides(shadow, target.index[target.member]) for shadow in shadows]
    shared = np.intersect1d(mine[1], np.concatenate([np.empty(0, np.int64), *(out for _, out in others)]))
    shared = np.random.default_rng(derive_seed(seed, "own", "shared")).permutation(shared)
    lacks, other = _lacking(*mine, shared), max([0, *(_lacking(*sides, shared) for sides in others)])
    if lacks + other > len(shared):
        lacks = round(len(shared) * lacks / (lacks + other))
    worlds = [_own_world(target, "target", mine[0], np.setdiff1d(mine[1], shared[lacks:]), seed)]
    worlds += [_own_world(shadow, f"shadow_{i}", inside, np.setdiff1d(outside, shared[:lacks]), seed)
               for i, (shadow, (inside, outside)) in enumerate(zip(shadows, others, strict=True))]
    n = 1 + max(int(model.index[-1]) for model in (target, *shadows))
    split = Split(n, seed, len(worlds[0].members), data_fingerprint, worlds[0], tuple(worlds[1:]))
    check_disjoint(split)
    return split


def _sides(model, excluded):
    """(members, non-members) of one model that may be scored, as indices."""
    usable = model.scored & ~np.isin(model.index, excluded)
    return model.index[usable & model.member], model.index[usable & ~model.member]


def _lacking(inside, outside, shared):
    """How many of the shared rows a side needs for as many non-members as members."""
    return max(0, min(len(inside), SCORED_AT_MOST) - len(np.setdiff1d(outside, shared)))


def _own_world(model, name, inside, outside, seed):
    if min(len(inside), len(outside)) < FEWEST:
        raise CompLeakError(f"{model.path}: {len(inside)} members and {len(outside)} non-members can be scored, "
                            f"at least {FEWEST} of each are needed (the target's: no shadow trained on them; a "
                            "shadow's: the target did not)")
    rows = [np.random.default_rng(derive_seed(seed, "own", name, side)).permutation(part)
            for side, part in enumerate((inside, outside))]
    return make_world(name, np.concatenate(rows), len(inside))
