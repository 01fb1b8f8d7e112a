"""What several test files need: small picture folders, and runs whose models' answers are made up."""
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import splits
from data.images import CIFAR10_CLASSES
from models.checkpoint import ORIGINAL, Layout, read_json, write_json
from models.query import losses, save_arrays

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root():
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def cifar_like(tmp_path_factory):
    """Class folders with CIFAR-10's class names: 28 + 12 noisy JPEG pictures (quality 75) a class, told by colour."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number, name in enumerate(CIFAR10_CLASSES):
        for part, count in (("train", 28), ("test", 12)):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                base = np.array([25 * number, 250 - 25 * number, 125])
                pixels = np.clip(base + rng.normal(0, 60, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i:04d}.jpg", quality=75)
    return folder


@pytest.fixture(autouse=True)
def handlers():
    """Commands set signal handlers for the whole process: none outlives its test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def made_up_run(tmp_path):
    """make(variants, leak, seed, n, classes, shadow_num) → Layout of a run whose models' answers are drawn at random.

    leak: how much larger the true class's logit is for a member; 0 gives models that know nothing of their members.
    """

    def make(variants, leak=0.0, seed=0, n=4000, classes=10, shadow_num=1, folder="run"):
        layout = Layout(tmp_path / folder, "digits", "resnet18")
        split = splits.make_split(n, seed, shadow_num, data_fingerprint="made up")
        run = {"seed": seed, "shadow_num": shadow_num, "train_size": split.train_size, "image_size": 8, "augment": True,
               "data_label": "made up", "classes": [str(c) for c in range(classes)]}
        write_json(layout.result(ORIGINAL, "split.json"), {"run": run, **splits.to_json(split)})
        rng = np.random.default_rng(splits.derive_seed(seed, "answers"))
        labels = rng.integers(classes, size=n)
        for variant in [ORIGINAL, *variants]:
            for world in split.worlds:
                write_answers(layout, variant, world, split, labels, leak, classes, rng)
        return layout

    return make


def write_answers(layout, variant, world, split, labels, leak, classes, rng):
    """queries.npz, sensitivity.npz and config.json of one made-up model."""
    index, evaluation = np.arange(split.n), np.sort(world.evaluation)
    member = np.isin(index, world.members)
    logits = rng.normal(size=(split.n, classes)).astype(np.float32)
    logits[index, labels] += 1.5 + leak * member
    meta = {"variant": str(variant), "world": world.name, "weights": f"{variant} {world.name}",
            "parent": None if variant == ORIGINAL else f"{ORIGINAL} {world.name}", "split": split.fingerprint,
            "data": split.data_fingerprint}
    save_arrays(layout.file(variant, world.name, "queries.npz"), {**meta, "rows": "all"}, logits=logits,
                losses=losses(logits, labels), labels=labels, index=index, member=member)
    sensitivity = rng.exponential(size=(len(evaluation), classes)).astype(np.float32)
    save_arrays(layout.file(variant, world.name, "sensitivity.npz"), {**meta, "seed": split.seed}, index=evaluation,
                sensitivity=sensitivity)
    correct = logits.argmax(1) == labels
    write_json(layout.file(variant, world.name, "config.json"),
               {"settings": {"technique": variant.technique, "degree": variant.degree}, "weights": meta["weights"],
                "bytes": 1000, "ratio": 1.0,
                "accuracy_in": float(correct[member].mean()), "accuracy_out": float(correct[~member].mean()),
                "before": {"accuracy_in": 1.0, "accuracy_out": 0.5, "bytes": 1000}})


@pytest.fixture
def edit_json():
    """edit(path, **changes): change values of a JSON file in place."""

    def edit(path, **changes):
        write_json(path, {**read_json(path, ""), **changes})

    return edit
