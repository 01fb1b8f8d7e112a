"""Models on disk: weights with the settings they were made with, a stopped training's progress, loading any version."""
import errno
import hashlib
import json
import os
import zipfile
from pathlib import Path

import torch

from common.errors import CompLeakError, FileError
from common.files import atomic, checksum
from models.compression import TECHNIQUES, onnx_int8
from models.networks import build

FORMAT = 1


def digest_of(tensors):
    """16 hex digits that name a dictionary of tensors, values and types."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def weights_file(layout, version, world):
    """Where a version's weights lie: weights.pt, or what its technique saves."""
    technique = TECHNIQUES.get(version.technique)
    return layout.file(version, world, technique.file if technique else "weights.pt")


def save_weights(path, tensors, settings):
    """Save a packed model and the settings it was made with; returns the digest of its tensors.

    An .onnx file is the model itself, tensors["onnx"] its bytes uint8, with the rest among ONNX's metadata.
    """
    name, text = digest_of(tensors), json.dumps(settings)
    head = {"format": FORMAT, "fingerprint": name, "settings": text, "checksum": checksum(name, text)}
    with atomic(path) as beside:
        if Path(path).suffix == ".onnx":
            beside.write_bytes(onnx_int8.with_note(tensors["onnx"].numpy().tobytes(), head))
        else:
            _save({**head, "tensors": tensors}, beside)
    return name


def _save(value, beside):
    try:
        torch.save(value, beside)
    except RuntimeError as error:  # a full disk, as torch words it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def read_weights(path):
    """What `save_weights` wrote: {"tensors", "settings", "digest"}.

    Raises FileError for a missing, truncated or changed file; nothing in it can run code.
    """
    saved = _read_onnx(path) if Path(path).suffix == ".onnx" else read_tensors(path)
    if saved is None:
        raise FileError.missing(path)
    try:
        form = dict(saved)["format"]
        intact = form == FORMAT and digest_of(saved["tensors"]) == saved["fingerprint"] and \
            checksum(saved["fingerprint"], saved["settings"]) == saved["checksum"]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise FileError.damaged(path, "it is not one of this project's") from None
    if form != FORMAT:
        raise FileError(path, f"has format {form!r}, this version reads {FORMAT}")
    if not intact:
        raise FileError.damaged(path, "its contents changed")
    return {"tensors": saved["tensors"], "settings": json.loads(saved["settings"]), "digest": saved["fingerprint"]}


def _read_onnx(path):
    """As `read_tensors`, of an .onnx file."""
    if not Path(path).exists():
        return None
    try:
        model, head = onnx_int8.without_note(Path(path).read_bytes())
    except (CompLeakError, OSError):
        raise
    except Exception as error:  # protobuf's own, or what is not there
        raise FileError.damaged(path, error) from error
    return {**head, "tensors": {"onnx": torch.frombuffer(bytearray(model), dtype=torch.uint8)}}


def read_tensors(path):
    """A file of tensors and plain values, or None where there is none; FileError where it is damaged."""
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
        raise FileError.damaged(path, error) from error


class Progress:
    """A stopped training's state beside its weights, used only while its settings are the same."""

    def __init__(self, path, settings):
        self.path, self.settings = Path(path), json.dumps(settings)

    def load(self):
        """The saved state, or None where there is none or it belongs to other settings."""
        try:
            state = read_tensors(self.path)
        except FileError as error:
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
    if settings["technique"] is None:
        model = empty(settings)
        model.load_state_dict(tensors)
    else:
        model = TECHNIQUES[settings["technique"]].load(tensors, settings["degree"], lambda: empty(settings))
    return model.to(device, memory_format=torch.channels_last).eval()


def empty(settings):
    """The float network that a model's settings name, freshly initialised."""
    return build(settings["model"], settings["num_cls"], seed=0)
