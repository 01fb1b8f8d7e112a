"""Models on disk: weights with the settings they were made with, a stopped training's progress, loading any version."""
import errno
import hashlib
import json
import os
import zipfile
from pathlib import Path

import torch

from common.errors import CompLeakError
from common.files import atomic, checksum
from models.compression import clustering, int8, pruning
from models.networks import build

FORMAT = 1


def fingerprint(tensors):
    """16 hex digits that name a dictionary of tensors, values and types."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def save_weights(path, tensors, settings):
    """Save a packed model and the settings it was made with; returns the fingerprint of its tensors."""
    name = fingerprint(tensors)
    with atomic(path) as beside:
        text = json.dumps(settings)
        _save({"format": FORMAT, "fingerprint": name, "settings": text, "checksum": checksum(name, text),
               "tensors": tensors}, beside)
    return name


def _save(value, beside):
    try:
        torch.save(value, beside)
    except RuntimeError as error:  # a full disk, as torch words it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def read_weights(path, made_by):
    """What `save_weights` wrote: {"tensors", "settings", "fingerprint"}.

    Raises CompLeakError for a missing, truncated or changed file; nothing in it can run code.
    """
    saved = read_tensors(path, made_by)
    if saved is None:
        raise CompLeakError(f"{path} is missing: run {made_by}")
    try:
        form = dict(saved)["format"]
        intact = form == FORMAT and fingerprint(saved["tensors"]) == saved["fingerprint"] and \
            checksum(saved["fingerprint"], saved["settings"]) == saved["checksum"]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise CompLeakError(f"{path} is damaged or not one of this project's: delete it and run {made_by}") from None
    if form != FORMAT:
        raise CompLeakError(f"{path} has format {form!r}, this version reads {FORMAT}: run {made_by}")
    if not intact:
        raise CompLeakError(f"{path} is damaged (its contents changed): delete it and run {made_by}")
    return {**saved, "settings": json.loads(saved["settings"])}


def read_tensors(path, made_by):
    """A file of tensors and plain values, or None where there is none; CompLeakError where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums it writes
            if archive.testzip():
                raise ValueError("its contents changed")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except Exception as error:  # torch raises half a dozen types for a damaged archive
        first = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CompLeakError(f"{path} is damaged or truncated ({first}): delete it and run {made_by}") from error


class Progress:
    """A stopped training's state beside its weights, used only while its settings are the same."""

    def __init__(self, path, settings):
        self.path, self.settings = Path(path), json.dumps(settings)

    def load(self):
        """The saved state, or None where there is none or it belongs to other settings."""
        try:
            state = read_tensors(self.path, "the command again")
        except CompLeakError as error:
            print(f"{error}; starting this model afresh")
            return None
        mine = isinstance(state, dict) and state.get("settings") == self.settings
        return state["state"] if mine else None

    def save(self, state):
        with atomic(self.path) as beside:
            _save({"settings": self.settings, "state": state}, beside)

    def remove(self):
        self.path.unlink(missing_ok=True)


def load_model(saved, device="cpu"):
    """The network, in evaluation mode and channels_last, of any version that `read_weights` returned."""
    settings, tensors = saved["settings"], saved["tensors"]
    technique = settings["technique"]
    model = build(settings["model"], settings["num_cls"], seed=0)
    if technique == "quantization":
        return int8.load_int8(tensors, model).to(device)
    if technique == "pruning":
        tensors = pruning.unpack(tensors)
    elif technique == "clustering":
        tensors = clustering.unpack(tensors, int(settings["degree"]).bit_length() - 1)
    model.load_state_dict(tensors)
    return model.to(device, memory_format=torch.channels_last).eval()
