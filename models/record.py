"""What is recorded of each finished model in config.json, and the line that is printed of it."""
import platform
from importlib import metadata

import numpy as np
import torch

from common.errors import FileError
from common.files import read_json, write_json
from common.paths import ORIGINAL

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "scipy")  # whose versions are recorded


def record(run, version, world, saved, seconds, device):
    """Write config.json of one model, unless it describes these very weights already; returns its values.

    saved: what `read_weights` gave; seconds: how long this command worked on the model.
    """
    queries = run.queries(version, world.name)
    at = queries.rows(np.sort(world.evaluation))
    correct, member = queries.logits[at].argmax(1) == queries.labels[at], queries.member[at]
    size, original = (run.layout.file(one, world.name, "weights.pt").stat().st_size for one in (version, ORIGINAL))
    config = {"settings": saved["settings"], "weights": saved["fingerprint"], "bytes": size,
              "ratio": round(original / size, 3), "accuracy_in": float(correct[member].mean()),
              "accuracy_out": float(correct[~member].mean()), "seconds": round(seconds, 1),
              "device": device_name(device), "python": platform.python_version(),
              "versions": {name: metadata.version(name) for name in PACKAGES}}
    if version != ORIGINAL:
        before = run.config(ORIGINAL, world.name)
        config["before"] = {key: before[key] for key in ("accuracy_in", "accuracy_out", "bytes")}
    path = run.layout.file(version, world.name, "config.json")
    old = _old(path)
    if all(old.get(key) == config.get(key) for key in ("settings", "weights", "before")):
        return old
    write_json(path, config)
    return config


def _old(path):
    try:
        return read_json(path)
    except FileError:
        return {}


def device_name(device):
    """What a result was measured on: the GPU's name, or the processor kind and PyTorch's thread count."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def summary(version, world, config):
    """One line on a finished model: accuracy on members and non-members, before compression too, and size."""
    line = (f"{version} {world}: accuracy {100 * config['accuracy_in']:.2f}% on members, "
            f"{100 * config['accuracy_out']:.2f}% on non-members")
    size = f"{config['bytes'] / 1e6:.2f} MB on disk"
    if version == ORIGINAL:
        return f"{line}; {size}"
    before = config["before"]
    return (f"{line} (original {100 * before['accuracy_in']:.2f}%, {100 * before['accuracy_out']:.2f}%); {size}, "
            f"{config['ratio']:.2f} times smaller than the original")
