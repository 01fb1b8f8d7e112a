"""What several test files need: small picture folders, and runs whose models' answers are made up."""
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes that share the cores; before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

from attacks import mr, nr, sr
from attacks.attack import Options, Scored
from attacks.inputs import identities
from attacks.results import Results
from attacks.saved import context_of
from benchmarks.made_up import write_model
from common.files import read_json, save_arrays, write_json
from common.paths import ORIGINAL, Layout
from data import splits
from data.official import CIFAR10_CLASSES
from models.compression import paper_versions
from models.run import Run, Settings

PAPER = tuple(paper_versions())
ROOT = Path(__file__).resolve().parent.parent
NR_ATTACKS = ("metric_based_1", "metric_based_2", "train_based_2 (RF)", "RMIA")


def pytest_collection_modifyitems(items):
    """The whole chain of commands takes longest: where several processes share the files, it comes first."""
    items.sort(key=lambda item: item.path.name != "test_commands.py")


@pytest.fixture(scope="session")
def root():
    """The project's folder."""
    return ROOT


class Planted:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture(scope="session")
def planted():
    """Planted(folder): what creates that folder when it is unpickled, which nothing here may do."""
    return Planted


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
    """make(versions, …, folder) → Layout: `make_run` in a folder of the test's."""
    return lambda versions, folder="run", **more: make_run(tmp_path / folder, versions, **more)


def make_run(folder, versions, leak=0.0, seed=0, n=4000, classes=10, shadow_num=1, pools=splits.DISJOINT,
             train_size=None):
    """The Layout of a run whose models' answers are drawn at random.

    leak: how much larger the true class's logit is for a member; 0 gives models that know nothing of their members.
    """
    layout = Layout(folder, "digits", "resnet18")
    split = splits.make_split(n, seed, shadow_num, train_size, "made up", pools=pools)
    settings = Settings(seed=seed, shadow_num=shadow_num, train_size=split.train_size, image_size=8, pools=pools,
                        data_label="made up", classes=tuple(str(c) for c in range(classes)))
    write_json(layout.result(ORIGINAL, "split.json"), {"run": settings.as_json(), **splits.to_json(split)})
    rng = np.random.default_rng(splits.derive_seed(seed, "answers"))
    labels = rng.integers(classes, size=n)
    for version in [ORIGINAL, *versions]:
        for world in split.worlds:
            write_answers(layout, version, world, split, labels, leak, classes, rng)
    return layout


def write_answers(layout, version, world, split, labels, leak, classes, rng, moved=True):
    """queries.npz, sensitivity.npz (moved) and config.json of one made-up model."""
    index = np.arange(split.n)
    member = np.isin(index, world.members)
    logits = rng.normal(size=(split.n, classes)).astype(np.float32)
    logits[index, labels] += 1.5 + leak * member
    weights = write_model(layout, version, world, split, labels, logits, 1.0 if moved else None, rng)
    correct = logits.argmax(1) == labels
    write_json(layout.file(version, world.name, "config.json"),
               {"settings": {"technique": version.technique, "degree": version.degree}, "weights": weights,
                "bytes": 1000, "ratio": 1.0,
                "accuracy_in": float(correct[member].mean()), "accuracy_out": float(correct[~member].mean()),
                "before": {"accuracy_in": 1.0, "accuracy_out": 0.5, "bytes": 1000}})


def write_views(layout):
    """Two made-up views of each original, as far from its plain answers as another model's."""
    run, rng = Run(layout), np.random.default_rng(3)
    for world in run.split.worlds:
        plain = run.queries(ORIGINAL, world.name)
        views = plain.logits[:, None] + rng.normal(size=(len(plain.index), 2, 10))
        save_arrays(layout.file(ORIGINAL, world.name, "views.npz"), {**plain.meta, "views": 2}, index=plain.index,
                    logits=views.astype(np.float32))


@pytest.fixture(scope="session")
def made_up():
    """The functions that make up answers, results and configurations, for tests with runs of their own."""
    return SimpleNamespace(run=make_run, answers=write_answers, views=write_views, scores=save_scores,
                           config=write_config)


@pytest.fixture
def edit_json():
    """edit(path, **changes): change values of a JSON file in place."""

    def edit(path, **changes):
        write_json(path, {**read_json(path), **changes})

    return edit


@pytest.fixture(scope="session")
def scored_run():
    """make(folder, seed, label, data, scored, versions) → Run with results and made-up scores, answers of few classes.

    data: a Dataset, whose pictures then belong to the run, or None; scored: members, and as many non-members.
    """

    def make(folder, seed=0, label="made up", data=None, scored=300, versions=PAPER):
        run = Run(Layout(folder, "digits", "resnet18"))
        n, known = (len(data.labels), data.digest) if data else (6 * scored, "made up")
        split = splits.make_split(n, seed, train_size=n // 2 - scored, data_digest=known)
        settings = Settings(seed=seed, train_size=split.train_size, image_size=8, data_label=label,
                            classes=tuple(str(c) for c in range(10)))
        write_json(run.path, {"run": settings.as_json(), **splits.to_json(split)})
        rng, index = np.random.default_rng(seed), np.sort(split.target.evaluation)
        member, known_to_all = np.isin(index, split.target.members), rng.normal(size=len(index))
        labels = data.labels if data else rng.integers(10, size=n)
        on_shadow = np.concatenate([np.isin(np.sort(one.evaluation), one.members) for one in split.shadows])

        def attacked(version, setting, names, shift, **groups):
            scores = {name: np.exp(0.5 * (known_to_all + rng.normal(size=len(index)) + shift * member))
                      for name in names}
            seen = {name: rng.normal(size=len(on_shadow)) + shift * on_shadow for name in names}
            save_scores(run, version, setting, {name: (values, values > 1.3, seen[name])
                                                for name, values in scores.items()}, shadow_member=on_shadow, **groups)

        for version in versions:
            for world in split.worlds:
                write_answers(run.layout, version, world, split, labels, 0.0, 10, rng, moved=False)
            write_config(run.layout.file(version, "target", "config.json"), version, f"{version} target")
            run.layout.file(version, "shadow_0", "config.json").unlink()
        for place, version in enumerate(versions):
            leak = 1.2 - 0.1 * place
            attacked(version, "NR", NR_ATTACKS, leak)
            if version != ORIGINAL:
                attacked(version, "SR", ("SR1 (RF)", "SR2 (RF)"), leak + 0.2)
        if len(versions) > 1:
            attacked(ORIGINAL, "MR", ["pair, with the original", "pair, without the original"], 1.5,
                     groups={"pair": versions[1:3]})
        return run

    return make


def save_scores(run, version, setting, scored, groups=None, options=None, shadow_member=None):
    """NR.json, SR.json or MR.json and the scores beside it as the attacks leave them, from made-up scores.

    scored: {attack: (scores [m], decisions [m]) or with the shadow's [Σm] as a third}; shadow_member [Σm]; groups:
    {name: [Version]} of MR.
    """
    context, world = replace(context_of(run), options=options or Options()), run.split.target
    index = np.sort(world.evaluation)
    jobs = {}
    for name, (scores, decisions, *on_shadow) in scored.items():
        if setting == "MR":
            group, knows = name.rsplit(", ", 1)
            entry, made_from = mr.attack_of(name), mr.made_from(run, groups[group], knows, context)
        elif setting == "SR":
            entry = sr.ATTACKS[name]
            made_from = sr.made_from(identities(run, ORIGINAL), identities(run, version))
        else:
            entry = nr.ATTACKS[name]
            made_from = nr.made_from(entry, identities(run, version))
        found = Scored(np.asarray(scores, float), decisions, np.asarray(on_shadow[0] if on_shadow else scores, float))
        jobs[name] = replace(entry, run=lambda seen, context, found=found: found), made_from, None
    also = {"shadows": len(run.split.shadows)}
    if groups:
        also["groups"] = {name: [str(one) for one in versions] for name, versions in groups.items()}
    target = SimpleNamespace(index=index, member=np.isin(index, world.members))
    Results(run, version, setting).complete(jobs, target, context, also=also, shadow_member=shadow_member)


def write_config(path, version, weights):
    """config.json of a made-up model."""
    config = {"settings": {"epochs": 3, "lr": 0.01, "batch_size": 128, "bfloat16": False}, "weights": weights,
              "bytes": 2_000_000, "ratio": 2.0, "accuracy_in": 0.98, "accuracy_out": 0.8, "device": "a CPU",
              "python": "3.11.7", "versions": {"torch": "2.15.0"}}
    if version != ORIGINAL:
        config["before"] = {"accuracy_in": 1.0, "accuracy_out": 0.85, "bytes": 4_000_000}
    write_json(path, config)
