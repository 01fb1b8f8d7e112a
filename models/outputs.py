"""Models made elsewhere: bare files of their answers, and the rows of them that can be scored."""
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import CompLeakError
from common.files import FORMAT, read_npz
from common.provenance import digest
from common.seeds import derive_seed
from data.splits import SCORED_AT_MOST, Split, check_disjoint, make_world
from models.bare import FEWEST, check
from models.queries import ARRAYS, losses


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

    def accuracy(self, index):
        """(of members, of non-members) of the rows at `index`, fractions."""
        at = np.searchsorted(self.index, index)
        right, member = self.logits[at].argmax(1) == self.labels[at], self.member[at]
        return float(right[member].mean()), float(right[~member].mean())


def read_outputs(path, sensitivity_path=None):
    """The Outputs in an .npz file: logits, labels, index, member, and where they are there losses, scored, meta.

    sensitivity_path: a file of index and sensitivity, read where it exists. Raises CompLeakError, naming the file.
    """
    arrays, meta = read_npz(path)
    if "format" in meta and meta["format"] != FORMAT:
        raise CompLeakError(f"{path} has format {meta['format']!r}, this version reads {FORMAT}")
    check(arrays, path)
    order = np.argsort(arrays["index"], kind="stable")
    kept = {name: arrays[name][order] for name in ARRAYS.keys() & arrays.keys()}
    kept |= {"logits": kept["logits"].astype(np.float32), "labels": kept["labels"].astype(np.int64),
             "index": kept["index"].astype(np.int64)}
    kept["losses"] = losses(kept["logits"], kept["labels"])  # given ones were checked, and have fewer digits
    kept.setdefault("scored", np.ones(len(order), bool))
    moved = None
    if sensitivity_path is not None and Path(sensitivity_path).exists():
        moved = _read_sensitivity(sensitivity_path, meta, kept)
    return Outputs(Path(path), sensitivity=moved, **kept)


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


class Asked(NamedTuple):
    """The rows that one world's versions were asked about, ascending by index; arrays as in `Outputs`.

    path: of the first version, for messages · scored: may be scored: every version was asked, and none says no ·
    missed: how many more would be, if every version had been asked.
    """

    path: Path
    index: np.ndarray
    labels: np.ndarray
    member: np.ndarray
    scored: np.ndarray
    missed: int


def joined(models):
    """The Asked of one world from its versions' Outputs; CompLeakError where two say different things of one row."""
    index, first = np.unique(np.concatenate([model.index for model in models]), return_index=True)
    labels, member = (np.concatenate([getattr(model, name) for model in models])[first]
                      for name in ("labels", "member"))
    asked, refused = np.zeros(len(index), int), np.zeros(len(index), bool)
    for model in models:
        at = np.searchsorted(index, model.index)
        for name, known in (("labels", labels), ("member", member)):
            wrong = np.flatnonzero(known[at] != getattr(model, name))
            if len(wrong):
                raise CompLeakError(f"{model.path}: {name} of index {model.index[wrong[0]]} is not that of another "
                                    "version; all versions of one model have the same members and labels")
        asked[at] += 1
        refused[at] |= ~model.scored
    scored = (asked == len(models)) & ~refused
    return Asked(models[0].path, index, labels, member, scored, int((~refused & ~scored).sum()))


def own_split(target, shadows, data_digest, seed):
    """The Split of answers made elsewhere, from Asked: whom attacks are scored on (target) and fitted on (shadows).

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
    split = Split(n, seed, len(worlds[0].members), data_digest, worlds[0], tuple(worlds[1:]))
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
                            f"at least {FEWEST} of each are needed (every version was asked; the target's: no shadow "
                            "trained on them; a shadow's: the target did not)")
    rows = [np.random.default_rng(derive_seed(seed, "own", name, side)).permutation(part)
            for side, part in enumerate((inside, outside))]
    return make_world(name, np.concatenate(rows), len(inside))
