"""The work of a stage: every world's model trained or fine-tuned, saved, queried; what is finished is not repeated."""
import json
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch

from common.errors import FileError, UsageError
from common.files import atomic, locked, write_json
from common.paths import ORIGINAL
from common.seeds import derive_seed
from common.threads import fewer_threads_hint
from data import splits
from data.augment import normalise
from models import training
from models.answering import answer
from models.best_epoch import BestEpoch
from models.compression import TECHNIQUES
from models.record import learned_nothing, record, summary
from models.weights import Progress, load_model, read_weights, save_weights, weights_file

# A change of these makes no model stale: the data's name, and their statistics, which may differ in the last bit.
FREE = {"data_label", "statistics"}
ASKED = ("epochs", "lr", "batch_size")  # what a command's own flags decide, whichever original it starts from
FLAGS = {"lr": "--lr", "batch_size": "--batch_size", "bfloat16": "--amp", "l2_term": "--protocol",
         "best_epoch": "--protocol"}


def run_worlds(stage, version, start):
    """Train or fine-tune one version for the stage's worlds, the target and every shadow by default; query each.

    start(parent, world name) → training.Session; parent is the loaded original of that world, None when the original
    itself is trained. Models and answers that are there already, made with the same settings, stay.
    CompLeakError where another process works on one of these models.
    """
    with ExitStack() as locks:
        for world in stage.worlds:
            locks.enter_context(locked(stage.run.layout.root(version) / world.name))
        if version == ORIGINAL:
            _write_split(stage)
        for world in stage.worlds:
            with stage.run.mending(version):
                _run_world(stage, version, world, start)


def compress(stage, version):
    """Make one compressed version of every world's original."""
    technique = TECHNIQUES[version.technique]
    run_worlds(stage, version, lambda original, _: technique.start(original, version.degree))


def _write_split(stage):
    """split.json, where the target that may lie beside it is of this split."""
    layout = stage.run.layout
    target = layout.file(ORIGINAL, "target", "weights.pt")
    if target.exists() and not stage.run.path.exists():
        old = read_weights(target)["settings"]
        if old["split_fingerprint"] != stage.split.digest:
            flags = ", ".join(f"--{name} {old[name]}" for name in ("seed", "train_size", "image_size"))
            raise UsageError(f"{layout.root()} holds models of another run and no split.json: name that run's flags "
                             f"({flags}) and data, or delete the folder, or train in another --run_dir")
    with locked(stage.run.path, wait=30):  # target and shadow may be made by two processes at once
        write_json(stage.run.path, {"run": stage.settings.as_json(), **splits.to_json(stage.split)})


def _run_world(stage, version, world, start):
    settings, parent = _settings(stage, version, world)
    began = time.monotonic()
    saved = _finished(stage, version, world, settings)
    if saved is None:
        settings["statistics"] = json.loads(json.dumps(stage.data.statistics))
        saved = _train(stage, version, world, settings, parent, start)
    else:
        progress = Progress(stage.run.layout.file(version, world.name, "progress.pt"), saved["settings"])
        if progress.load() is not None:  # a process was killed between saving the model and here
            progress.remove()
    answer(stage.asking, version, world, saved)
    config = record(stage.run, version, world, saved, time.monotonic() - began, stage.device)
    print(summary(version, world.name, config))
    warning = learned_nothing(f"{version} {world.name}", config, len(stage.settings.classes), world.scored)
    if warning:
        print(warning)


def _settings(stage, version, world):
    """Every setting that decides a model's weights, and the original it starts from (or None)."""
    run, split, layout = stage.settings, stage.split, stage.run.layout
    settings = {"dataset": layout.dataset, "data_label": run.data_label, "data_fingerprint": split.data_digest,
                "split_fingerprint": split.digest, "world": world.name, "model": layout.model,
                "num_cls": len(run.classes), "image_size": run.image_size, "train_size": split.train_size,
                "technique": version.technique, "degree": version.degree, "statistics": None,
                **(training.settings(stage.recipe) if stage.recipe.epochs else {})}
    if version == ORIGINAL:
        return settings, None
    if not stage.recipe.epochs:
        settings |= {"epochs": None, "calibration": TECHNIQUES[version.technique].calibration}
    path = layout.file(ORIGINAL, world.name, "weights.pt")
    with stage.run.mending(ORIGINAL):
        parent = read_weights(path)
    if parent["settings"]["split_fingerprint"] != split.digest:
        raise stage.run.stale(path, ORIGINAL, "was trained on another split")
    if stage.run.config(ORIGINAL, world.name).get("weights") != parent["digest"]:
        raise stage.run.stale(path.with_name("config.json"), ORIGINAL, "describes other weights than lie beside it")
    return {**settings, "parent": parent["digest"]}, parent


def _finished(stage, version, world, settings):
    """The saved weights, if they were made with these settings; UsageError where a flag would replace them."""
    path = weights_file(stage.run.layout, version, world.name)
    if not path.exists():
        return None
    try:
        saved = read_weights(path)
    except FileError as error:
        print(f"{error.path} {error.problem}: making it again")
        return None
    old = saved["settings"]
    changed = [name for name in {**settings, **old} if name not in FREE and old.get(name) != settings.get(name)]
    if not changed:
        return saved
    said = ", ".join(f"{name} {old.get(name)}, now {settings.get(name)}" for name in changed)
    refused = [name for name in changed if name in ASKED or "parent" not in changed]
    if refused and not stage.request.retrain:
        flags = {"epochs": getattr(TECHNIQUES.get(version.technique), "epochs_flag", "--epochs"), **FLAGS}
        named = " ".join(dict.fromkeys(flags.get(name, name) for name in refused))
        raise UsageError(f"{named}: {version} {world.name} in {stage.run.layout.root(version)} was made with other "
                         f"settings ({said}): choose another --run_dir, or make it again with --retrain")
    print(f"{version} {world.name}: made with other settings ({said}): making it again")
    return None


def _train(stage, version, world, settings, parent, start):
    log, name = stage.run.layout.file(version, world.name, "log.jsonl"), f"{version} {world.name}"
    log.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(derive_seed(stage.settings.seed, world.name, str(version)))
    hint = fewer_threads_hint(torch.get_num_threads()) if stage.device.type == "cpu" else None
    if hint:
        print(hint)
    session = start(load_model(parent, stage.device) if parent else None, world.name)
    session.model.to(stage.device, memory_format=torch.channels_last)
    pictures, labels = _shown(stage, world.members)
    seed = derive_seed(stage.settings.seed, world.name, str(version), "training")
    progress = Progress(log.with_name("progress.pt"), settings)
    began, epochs = time.monotonic(), stage.recipe.epochs
    session.hooks.look(_some(stage, world, seed))
    if epochs:
        _keep_lines(log, (progress.load() or {"epoch": 0})["epoch"])
        training.train(session.model, pictures, labels, stage.data.statistics, replace(stage.recipe, seed=seed),
                       session.hooks, progress, log, name, _selection(stage, world))
    tensors = {key: tensor.detach().cpu() for key, tensor in session.pack(session.model).items()}
    path = weights_file(stage.run.layout, version, world.name)
    save_weights(path, tensors, settings)
    progress.remove()
    print(f"{name}: {'trained' if epochs else 'made'} in {time.monotonic() - began:.0f} s")
    return read_weights(path)


def _some(stage, world, seed):
    """take(n) → n of a world's members (all, where there are fewer), normalised [n, 3, h, w] on the CPU."""
    def take(n):
        rows = np.sort(np.random.default_rng(seed).permutation(world.members)[:n])
        return normalise(torch.from_numpy(stage.data.images[rows]), *stage.data.statistics)

    return take


def _shown(stage, rows):
    """Pictures and labels at these rows, on the device that trains."""
    return (torch.from_numpy(array[rows]).to(stage.device) for array in (stage.data.images, stage.data.labels))


def _selection(stage, world):
    """The released protocol's choice of the epoch, or None: the last."""
    if not stage.recipe.best_epoch:
        return None
    shown = _shown(stage, world.non_members[: world.scored])
    return BestEpoch(*shown, stage.data.statistics, stage.recipe.bfloat16, stage.recipe.best_epoch)


def _keep_lines(log, epochs):
    """Cut a log to the epochs that a stopped training will not run again."""
    lines = log.read_bytes().splitlines(keepends=True) if epochs and log.exists() else []
    with atomic(log) as beside:
        beside.write_bytes(b"".join(lines[:epochs]))
