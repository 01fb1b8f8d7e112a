"""Ask a model made elsewhere: any PyTorch module, exported program or function gives the files that an audit reads."""
from pathlib import Path

import numpy as np
import torch

from common.errors import CompLeakError
from common.files import atomic, save_arrays
from common.provenance import digest
from models.bare import check
from models.foreign import asked
from models.queries import check_kinds, logits_of, losses, sensitivity_of


def ask(model, inputs, labels, member, index, folder, scored=None, sensitivity=True, seed=0):
    """Ask a model and write folder/queries.npz and, where asked for, folder/sensitivity.npz: both or neither.

    model: [b, …] → logits [b, c], or a tuple whose first tensor, or a dictionary whose "logits" they are: a module of
    any precision, frozen, scripted or exported, or a function. A module is asked in evaluation mode, on its parameters'
    device, and left as it was. inputs [n, …]: a tensor or NumPy array as the model expects it, the same transform for
    members and non-members; labels [n] in 0..c-1; member [n] bool: this model trained on it; index [n]: one number for
    one input in every file. scored [n] bool: rows that attacks may score, default all; sensitivities (ten queries a
    row, on the input as given, so normalised inputs are meant) are measured for those, not of a model in half
    precision, whose rounding is larger than their noise. Raises CompLeakError for what does not fit.
    """
    inputs = _tensor(inputs)
    rows = {"labels": labels, "member": member, "index": index,
            "scored": np.ones(len(inputs), bool) if scored is None else scored}
    rows = {name: _array(values) for name, values in rows.items()}
    _check_given(inputs, rows, sensitivity)
    order = np.argsort(rows["index"], kind="stable")
    arrays = {name: values[order] for name, values in rows.items()}
    arrays |= {name: arrays[name].astype(np.int64) for name in ("labels", "index")}
    with asked(model, inputs, sensitivity) as (answer, device):
        logits = logits_of(answer, _take(inputs, order, device), len(order), "queries")
        check({"logits": logits, **arrays}, "ask")
        scored_rows, moved = order[arrays["scored"]], None
        if sensitivity:
            moved = sensitivity_of(answer, _take(inputs, scored_rows, device), rows["index"][scored_rows], seed,
                                   "sensitivity")
    meta = {"made_by": "models.audit.ask", "weights": digest(logits, arrays["index"])}
    folder = Path(folder)
    with atomic(folder / "queries.npz") as beside:  # in place only when the sensitivities are
        save_arrays(beside, meta, logits=logits, losses=losses(logits, arrays["labels"]), **arrays)
        if sensitivity:
            save_arrays(folder / "sensitivity.npz", {**meta, "seed": seed}, sensitivity=moved,
                        index=arrays["index"][arrays["scored"]])


def _tensor(inputs):
    if isinstance(inputs, torch.Tensor):
        return inputs.detach()
    try:
        return torch.from_numpy(np.array(inputs))
    except (TypeError, ValueError) as error:
        raise CompLeakError(f"inputs are {type(inputs).__name__}: give a tensor or a NumPy array of numbers "
                            f"({str(error).splitlines()[0]})") from None


def _array(values):
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _check_given(inputs, rows, sensitivity):
    """Raises CompLeakError for arguments that do not fit, before the model works on them."""
    if inputs.dim() == 0 or len(inputs) == 0:
        raise CompLeakError(f"inputs are {tuple(inputs.shape)}: give at least one")
    if rows["index"].shape != (len(inputs),):
        raise CompLeakError(f"{len(inputs)} inputs and index {rows['index'].shape}: give one whole number for each "
                            "input")
    check_kinds(rows, "ask", rows)
    if sensitivity and not torch.is_floating_point(inputs):
        raise CompLeakError(f"inputs are {inputs.dtype}: sensitivities need floating-point ones (or sensitivity=False)")
    if sensitivity and not rows["scored"].any():
        raise CompLeakError("scored marks no row: there is no sensitivity to measure (or sensitivity=False)")


def _take(inputs, rows, device):
    return lambda part: inputs[torch.from_numpy(rows[part]).to(inputs.device)].to(device)
