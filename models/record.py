"""What is recorded of each finished model in config.json, and the line that is printed of it."""
import platform
from importlib import metadata

import numpy as np
import torch
from scipy.stats import binom, norm

from common.files import write_json
from common.paths import ORIGINAL
from models import hints
from models.compression import TECHNIQUES
from models.weights import weights_file

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "scipy")  # whose versions are recorded
LEVEL = 0.01  # of the tests of accuracies
SLOW = 1e-3  # a learning rate below it may be too low, not too high


def record(run, version, world, saved, seconds, device):
    """Write config.json of one model, unless it describes these very weights already; returns its values.

    saved: what `read_weights` gave; seconds: how long this command worked on the model.
    """
    queries = run.queries(version, world.name)
    at = queries.rows(np.sort(world.evaluation))
    correct, member = queries.logits[at].argmax(1) == queries.labels[at], queries.member[at]
    loss = queries.losses[at][member].mean(dtype=np.float64)
    size, original = (weights_file(run.layout, one, world.name).stat().st_size for one in (version, ORIGINAL))
    packages = (*PACKAGES, *getattr(TECHNIQUES.get(version.technique), "packages", ()))
    config = {"settings": saved["settings"], "weights": saved["digest"], "bytes": size,
              "ratio": round(original / size, 3), "accuracy_in": float(correct[member].mean()),
              "accuracy_out": float(correct[~member].mean()), "loss_in": float(loss), "seconds": round(seconds, 1),
              "device": device_name(device), "python": platform.python_version(),
              "versions": {name: metadata.version(name) for name in packages}}
    if version != ORIGINAL:
        before = run.config(ORIGINAL, world.name)
        config["before"] = {key: before[key] for key in ("accuracy_in", "accuracy_out", "bytes")}
    path = run.layout.file(version, world.name, "config.json")
    old = hints.known(path)
    if all(old.get(key) == config.get(key) for key in ("settings", "weights", "before")):
        return old
    write_json(path, config)
    return config


def at_chance(config, classes, scored):
    """Whether a model knows its own members no better than by guessing, so that there is nothing for attacks to find.

    config: the values of its config.json, of which accuracy_in is read · classes: their number · scored: members that
    the accuracy was measured on. A one-sided binomial test of the members it is right on against 1/classes, at 1%.
    """
    right = round(config["accuracy_in"] * scored)
    return bool(binom.sf(right - 1, scored, 1 / classes) > LEVEL)


def differ(inside, outside, scored):
    """Whether two accuracies, fractions of as many rows each, differ beyond chance: two-sided, normal, at 1%."""
    mean = (inside + outside) / 2
    return bool(abs(inside - outside) > norm.isf(LEVEL / 2) * np.sqrt(2 * mean * (1 - mean) / scored))


def learned_nothing(name, config, classes, scored):
    """The line that warns of a model that learned nothing, with the likely cure; None for one that did.

    name: of the model, for the line; else as `at_chance`. A mean loss of members above ln(classes) + 1, worse than
    knowing nothing, is a sign too.
    """
    loss, made = config.get("loss_in"), config["settings"]
    if not at_chance(config, classes, scored) and (loss is None or loss <= np.log(classes) + 1):
        return None
    found = f"accuracy {100 * config['accuracy_in']:.2f}%" + ("" if loss is None else f", loss {loss:.3g} nats")
    lr = made.get("lr")
    slow = lr and lr < SLOW and loss is not None and loss <= np.log(classes) + 1  # hardly moved from knowing nothing
    cure = f"--lr {10 * lr if slow else lr / 10:g}" if lr else "a smaller --lr"
    return (f"warning: {name} learned nothing ({found} on members, {100 / classes:.3g}% and {np.log(classes):.3g} nats "
            f"are chance): try {cure}, more --train_size or more epochs, with --retrain")


def say_at_chance(run, versions):
    """Print `at_chance_lines`."""
    for line in at_chance_lines(run, versions):
        print(line)


def at_chance_lines(run, versions):
    """One line for each of these versions whose target knows its own members no better than by guessing."""
    lines = []
    for version in versions:
        config = hints.known(run.layout.file(version, run.layout.attacked, "config.json"))
        if "accuracy_in" in config and at_chance(config, len(run.settings.classes), run.split.target.scored):
            lines.append(f"{version}: target at chance: nothing to find "
                         f"(accuracy {100 * config['accuracy_in']:.2f}% on members)")
    return lines


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
