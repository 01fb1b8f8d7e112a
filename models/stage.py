"""One training stage: every world's model trained or fine-tuned, saved, queried; what is finished is not repeated."""
import json
import platform
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from common.device import choose_device, use_bfloat16
from common.errors import CompLeakError, UsageError
from common.files import atomic, locked, read_json, save_arrays, write_json
from common.paths import ORIGINAL, Layout
from data import sets, splits
from models import protocol, training
from models.best_epoch import BestEpoch
from models.queries import augmented, is_current, load_queries, losses, query, sensitivity
from models.run import RUN_DEFAULTS, given_settings, load_split, read_run, saved_run
from models.weights import Progress, load_model, read_weights, save_weights

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "scipy")  # whose versions config.json records


@dataclass(frozen=True)
class Stage:
    """What one command works on: where, on which data, with which split and recipe."""

    layout: Layout
    data: sets.Dataset
    split: splits.Split
    run: dict
    recipe: training.Recipe
    device: torch.device
    query_rows: str
    sensitivity: bool
    worlds: tuple


@dataclass(frozen=True)
class Session:
    """One model ready to be trained: the network, what hooks into its training, and pack() → its tensors on disk."""

    model: torch.nn.Module
    technique: training.Technique
    pack: object


def open_stage(args, create=False):
    """The Stage of a command's arguments; train.py creates the run's settings and split, other stages read them.

    A flag that contradicts the run in this folder raises UsageError, for train.py too once there is a model: a run
    folder has one seed and one split, and hours of work are not replaced for a flag. Shadows may be added, and models
    trained or queried anew by another protocol, as with another number of epochs.
    """
    device = choose_device(args.device)
    layout = Layout(Path(args.run_dir), args.dataset_name, args.model_name)
    path = layout.result(ORIGINAL, "split.json")
    fixed = not create or (path.exists() and any(layout.root().glob("*/*.pt")))
    if fixed:
        run = saved_run(layout, args, RUN_DEFAULTS.keys() - ({"shadow_num", "protocol"} if create else set()))
        run = {**run, **given_settings(args)}
    else:
        run = {**RUN_DEFAULTS, **(read_run(layout) if path.exists() else {}), **given_settings(args)}
    choices = protocol.parse(run["protocol"])
    if "augmented_members" in choices and not run["augment"]:
        raise UsageError(f"--protocol {run['protocol']}: members can be queried through the training's crops and flips "
                         "only where there are some: leave --no-augment out")
    recipe = training.Recipe(epochs=args.epochs, lr=args.lr, batch_size=args.batch_size, augment=run["augment"],
                             bfloat16=use_bfloat16(args.amp, device, run["image_size"]), seed=run["seed"],
                             l2_term="l2_term" in choices, best_epoch="best_epoch" in choices)
    data = sets.load(args.dataset_name, args.data_dir, args.data_label, run["image_size"], run_dir=args.run_dir)
    if args.num_cls not in (None, len(data.classes)):
        raise UsageError(f"--num_cls {args.num_cls}: {data.label} has {len(data.classes)} classes")
    saved = load_split(layout) if fixed else None
    twins = data.twins if saved is None or saved.twins else ()  # older splits did not keep them together
    split = splits.make_split(len(data.labels), run["seed"], run["shadow_num"], run["train_size"], data.fingerprint,
                              twins)
    if saved is not None and saved.fingerprint != split.fingerprint:
        raise CompLeakError(f"{data.label} is not the data that {path} was made from: name the same --data_dir, or "
                            "train on this one in another --run_dir")
    if create:
        run = {**run, "train_size": split.train_size, "data_label": data.label, "classes": list(data.classes)}
    return Stage(layout, data, split, run, recipe, device, args.query_rows, args.sensitivity,
                 split.named(args.worlds))


def run_worlds(stage, version, start):
    """Train or fine-tune one version for the stage's worlds, the target and every shadow by default; query each.

    start(parent, world name) → Session gives the model to train; parent is the loaded original of that world, None
    when the original itself is trained. Models and queries that are there already, made with the same settings, stay.
    CompLeakError where another process works on one of these models.
    """
    with ExitStack() as locks:
        for world in stage.worlds:
            locks.enter_context(locked(stage.layout.root(version) / world.name))
        if version == ORIGINAL:
            _write_split(stage)
        for world in stage.worlds:
            _run_world(stage, version, world, start)


def _write_split(stage):
    """split.json, where the target that may lie beside it is of this split."""
    layout = stage.layout
    path, target = layout.result(ORIGINAL, "split.json"), layout.file(ORIGINAL, "target", "weights.pt")
    if target.exists() and not path.exists():
        old = read_weights(target, layout.command(ORIGINAL))["settings"]
        if old["split_fingerprint"] != stage.split.fingerprint:
            flags = ", ".join(f"--{name} {old[name]}" for name in ("seed", "train_size", "image_size"))
            raise UsageError(f"{layout.root()} holds models of another run and no split.json: name that run's flags "
                             f"({flags}) and data, or delete the folder, or train in another --run_dir")
    write_json(path, {"run": stage.run, **splits.to_json(stage.split)})


def _run_world(stage, version, world, start):
    settings, parent = _settings(stage, version, world)
    began = time.monotonic()
    saved = _finished(stage, version, world, settings)
    if saved is None:
        saved = _train(stage, version, world, settings, parent, start)
    else:
        _drop_progress(stage.layout.file(version, world.name, "progress.pt"), settings)
    model = load_model(saved, stage.device)
    _query(stage, version, world, saved, model)
    config = _config(stage, version, world, saved, time.monotonic() - began)
    print(summary(version, world.name, config))


def _drop_progress(path, settings):
    """Remove what a process killed between saving a model and this left; another training's progress stays."""
    if path.exists() and Progress(path, settings).load() is not None:
        path.unlink()


def _settings(stage, version, world):
    """Every setting that decides a model's weights, and the original it starts from (or None)."""
    settings = {"dataset": stage.data.name, "data_label": stage.data.label, "data_fingerprint": stage.data.fingerprint,
                "split_fingerprint": stage.split.fingerprint, "world": world.name, "model": stage.layout.model,
                "num_cls": len(stage.data.classes), "image_size": stage.run["image_size"],
                "train_size": stage.split.train_size, "technique": version.technique, "degree": version.degree,
                "statistics": stage.data.statistics, **training.settings(stage.recipe)}
    if version == ORIGINAL:
        return _plain(settings), None
    made_by = stage.layout.command(ORIGINAL)
    parent = read_weights(stage.layout.file(ORIGINAL, world.name, "weights.pt"), made_by)
    if parent["settings"]["split_fingerprint"] != stage.split.fingerprint:
        raise CompLeakError(f"{stage.layout.file(ORIGINAL, world.name, 'weights.pt')} was trained on another split: "
                            f"run {made_by} again")
    config = stage.layout.file(ORIGINAL, world.name, "config.json")
    if read_json(config, made_by).get("weights") != parent["fingerprint"]:
        raise CompLeakError(f"{config} describes other weights than lie beside it: run {made_by} again")
    return _plain({**settings, "parent": parent["fingerprint"]}), parent


def _plain(settings):
    return json.loads(json.dumps(settings))


def _finished(stage, version, world, settings):
    """The saved weights, if they were made with these settings."""
    path = stage.layout.file(version, world.name, "weights.pt")
    if not path.exists():
        return None
    try:
        saved = read_weights(path, "the command again")
    except CompLeakError as error:
        print(f"{error}; making it again")
        return None
    # What the data set is called decides nothing; its fingerprint does.
    old = {**saved["settings"], "data_label": settings["data_label"]}
    changed = [name for name in {**settings, **old} if old.get(name) != settings.get(name)]
    if changed:
        said = ", ".join(f"{name} {old.get(name)}, now {settings.get(name)}" for name in changed)
        print(f"{version} {world.name}: made with other settings ({said}): making it again")
    return None if changed else saved


def _train(stage, version, world, settings, parent, start):
    files = {name: stage.layout.file(version, world.name, name) for name in ("log.jsonl", "progress.pt", "weights.pt")}
    files["log.jsonl"].parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(splits.derive_seed(stage.run["seed"], world.name, str(version)))
    session = start(load_model(parent, stage.device) if parent else None, world.name)
    session.model.to(stage.device, memory_format=torch.channels_last)
    pictures = torch.from_numpy(stage.data.images[world.members]).to(stage.device)
    labels = torch.from_numpy(stage.data.labels[world.members]).to(stage.device)
    seed = splits.derive_seed(stage.run["seed"], world.name, str(version), "training")
    recipe = training.Recipe(**{**training.settings(stage.recipe), "seed": seed})
    progress = Progress(files["progress.pt"], settings)
    _keep_lines(files["log.jsonl"], (progress.load() or {"epoch": 0})["epoch"])
    began = time.monotonic()
    training.train(session.model, pictures, labels, stage.data.statistics, recipe, session.technique, progress,
                   files["log.jsonl"], f"{version} {world.name}", _selection(stage, world))
    tensors = {name: tensor.detach().cpu() for name, tensor in session.pack(session.model).items()}
    save_weights(files["weights.pt"], tensors, settings)
    progress.remove()
    print(f"{version} {world.name}: trained in {time.monotonic() - began:.0f} s")
    return read_weights(files["weights.pt"], "the command again")


def _selection(stage, world):
    """The released protocol's choice of the epoch, or None: the last."""
    if not stage.recipe.best_epoch:
        return None
    rows = world.non_members[: world.scored]
    shown = (torch.from_numpy(array[rows]).to(stage.device) for array in (stage.data.images, stage.data.labels))
    return BestEpoch(*shown, stage.data.statistics, stage.recipe.bfloat16)


def _keep_lines(log, epochs):
    """Cut a log to the epochs that a stopped training will not run again."""
    lines = log.read_bytes().splitlines(keepends=True) if epochs and log.exists() else []
    with atomic(log) as beside:
        beside.write_bytes(b"".join(lines[:epochs]))


def _query(stage, version, world, saved, model):
    """queries.npz and sensitivity.npz of one model, unless they are there and current."""
    data, description = stage.data, f"{version} {world.name}"
    meta = {"variant": str(version), "world": world.name, "weights": saved["fingerprint"],
            "parent": saved["settings"].get("parent"), "split": stage.split.fingerprint, "data": data.fingerprint}
    pictures = data.images
    if "augmented_members" in protocol.parse(stage.run["protocol"]):
        meta["augmented_members"] = True
        seed = splits.derive_seed(stage.run["seed"], *description.split(), "crops")
        pictures = augmented(pictures, world.members, seed)
    path = stage.layout.file(version, world.name, "queries.npz")
    index = query_index(stage.split, stage.query_rows)
    if not is_current(path, {**meta, "rows": stage.query_rows}, index):
        logits = query(model, pictures, data.statistics, index, stage.device, f"{description} queries")
        save_arrays(path, {**meta, "rows": stage.query_rows}, logits=logits, losses=losses(logits, data.labels[index]),
                    labels=data.labels[index], index=index, member=np.isin(index, world.members))
    path = stage.layout.file(version, world.name, "sensitivity.npz")
    if stage.sensitivity and not is_current(path, {**meta, "seed": stage.run["seed"]}):
        index = np.sort(world.evaluation)
        values = sensitivity(model, pictures, data.statistics, index, stage.run["seed"], stage.device,
                             f"{description} sensitivity")
        save_arrays(path, {**meta, "seed": stage.run["seed"]}, index=index, sensitivity=values)


def query_index(split, rows):
    """Positions [n] int64, ascending: every picture of both pools ('all'), or every world's evaluation rows."""
    if rows == "all":
        worlds = [np.concatenate([world.members, world.non_members]) for world in (split.target, split.shadows[0])]
    else:
        worlds = [world.evaluation for world in split.worlds]
    return np.unique(np.concatenate(worlds))


def _config(stage, version, world, saved, seconds):
    """config.json of one model: settings, versions, accuracy on members and non-members, size on disk."""
    path = stage.layout.file(version, world.name, "config.json")
    queries = load_queries(stage.layout.file(version, world.name, "queries.npz"), "the command again")
    at = queries.rows(np.sort(world.evaluation))
    correct, member = queries.logits[at].argmax(1) == queries.labels[at], queries.member[at]
    size = stage.layout.file(version, world.name, "weights.pt").stat().st_size
    original = stage.layout.file(ORIGINAL, world.name, "weights.pt").stat().st_size
    config = {"settings": saved["settings"], "weights": saved["fingerprint"], "bytes": size,
              "ratio": round(original / size, 3), "accuracy_in": float(correct[member].mean()),
              "accuracy_out": float(correct[~member].mean()), "seconds": round(seconds, 1),
              "device": device_name(stage.device), "python": platform.python_version(),
              "versions": {name: metadata.version(name) for name in PACKAGES}}
    if version != ORIGINAL:
        before = read_json(stage.layout.file(ORIGINAL, world.name, "config.json"), "python train.py")
        config["before"] = {key: before[key] for key in ("accuracy_in", "accuracy_out", "bytes")}
    if path.exists():
        old = read_json(path, "the command again")
        if {key: old.get(key) for key in ("settings", "weights", "before")} == {
                key: config.get(key) for key in ("settings", "weights", "before")}:
            return old
    write_json(path, config)
    return config


def device_name(device):
    """What a result was measured on: the GPU's name, or the processor kind and PyTorch's thread count."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def summary(version, world, config):
    """One line on a finished model: accuracy on members and non-members, before compression too, and size."""
    line = (f"{version} {world}: accuracy {100 * config['accuracy_in']:.2f}% on members, "
            f"{100 * config['accuracy_out']:.2f}% on non-members")
    if "before" in config:
        before = config["before"]
        line += f" (original {100 * before['accuracy_in']:.2f}%, {100 * before['accuracy_out']:.2f}%)"
    return line + f"; {config['bytes'] / 1e6:.2f} MB on disk, {config['ratio']:.2f} times smaller than the original"
