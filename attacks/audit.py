"""Audit models made elsewhere: a folder of answers becomes a run that every attack, table, figure and report reads.

Two models, a target and a shadow trained the same way on other data; the index numbers the pictures:

    import os

    import numpy as np

    rng = np.random.default_rng(0)
    os.makedirs("outputs/original", exist_ok=True)
    for world, first in (("target", 0), ("shadow_0", 1000)):
        index, member = np.arange(first, first + 1000), np.arange(1000) < 500
        labels = rng.integers(10, size=1000)
        logits = rng.normal(size=(1000, 10)) + np.eye(10)[labels] * (3 + member[:, None])  # your model's, in its place
        np.savez(f"outputs/original/{world}.npz", logits=logits, labels=labels, index=index, member=member)

    python -m attacks.audit --outputs outputs --run_dir audit
    python CompLeakNR.py --dataset_name own --model_name model --run_dir audit --original

FOLDER holds original/target.npz and, with as many shadows as there are, original/shadow_0.npz, …; compressed versions
lie in pruning_0.6/, quantization_int8/, clustering_4/, …, each with the same worlds; other techniques
have names of yours, such as int4/ or distilled_half/. A world may also be a folder with
queries.npz and sensitivity.npz, as models.audit.ask writes them. Rows beyond those that are scored, such as the
shadow's answers on the target's pictures, are what RMIA compares with.
"""
import re
from pathlib import Path

import numpy as np

from common.command import Parser
from common.command import run as run_command
from common.errors import CompLeakError, UsageError
from common.files import locked, save_arrays, write_json
from common.paths import ORIGINAL, OWN, Layout, Version
from common.provenance import digest
from data.names import is_system, shown
from data.splits import to_json
from models import compression, hints, record
from models.outputs import own_split, read_outputs
from models.run import Run, Settings


def read_folder(folder):
    """{Version: {world's name: Outputs}}, target first; CompLeakError, in one line, for anything that does not fit."""
    if not folder.is_dir():
        raise UsageError(f"--outputs {folder}: there is no such folder")
    found, places = {}, {}
    for part in sorted(part for part in folder.iterdir() if part.is_dir() and not is_system(part.name)):
        version = _version(part)
        if version in places:
            raise CompLeakError(f"{places[version]} and {part} are one version, {version}: leave one of them")
        places[version], found[version] = part, _read_version(part)
    if not found:
        raise CompLeakError(f"{folder} holds no models: put answers into {folder / 'original' / 'target.npz'}")
    first = found.get(ORIGINAL) or next(iter(found.values()))
    for models in found.values():
        _check_alike(first, models)
    labels = np.unique(np.concatenate([np.stack([m.index, m.labels], 1) for m in first.values()]), axis=0)
    if len(np.unique(labels[:, 0])) < len(labels):
        raise CompLeakError(f"{folder}: target and shadow give one index different labels; an index names one input")
    return {version: found[version] for version in sorted(found, key=lambda version: version != ORIGINAL)}


def _version(part):
    if part.name == str(ORIGINAL):
        return ORIGINAL
    named = Version.named(part.name)
    try:
        if str(named) != part.name:  # such as int4_
            raise UsageError
        return compression.parse_any(named.technique, named.degree)
    except UsageError:
        raise CompLeakError(f"{shown(part)}: a folder of answers is called original, pruning_0.6 (any sparsity), "
                            "quantization_int8, clustering_4 (a power of two), or by a name of yours, technique or "
                            "technique_degree with one underscore, in letters, digits, '.', '+' and '-'") from None


def _read_version(part):
    names = [path.stem if path.suffix == ".npz" else path.name for path in sorted(part.iterdir())
             if (path.suffix == ".npz" or path.is_dir()) and not is_system(path.name)]
    worlds = ["target", *(f"shadow_{i}" for i in range(len(names) - 1))]
    if sorted(names) != sorted(worlds):
        raise CompLeakError(f"{part} holds {', '.join(names) or 'nothing'}; it must hold target.npz, and shadows as "
                            "shadow_0.npz, shadow_1.npz, … (or such folders with queries.npz), each once")
    models = {}
    for world in worlds:
        inside = part / world
        models[world] = read_outputs(inside / "queries.npz", inside / "sensitivity.npz") if inside.is_dir() \
            else read_outputs(part / f"{world}.npz")
    return models


def _check_alike(first, models):
    """Raises CompLeakError unless the same worlds were asked about the same rows, with the same classes."""
    target, other = first["target"], models["target"]
    if models.keys() != first.keys():
        raise CompLeakError(f"{other.path} stands beside {', '.join(models)}, but {target.path} beside "
                            f"{', '.join(first)}: give every version the same worlds")
    for world, model in models.items():
        for name in ("index", "labels", "member", "scored"):
            if not np.array_equal(getattr(model, name), getattr(first[world], name)):
                raise CompLeakError(f"{model.path}: {name} is not that of {first[world].path}; all versions of one "
                                    "world are asked about the same rows")
        if model.logits.shape[1] != target.logits.shape[1]:
            raise CompLeakError(f"{model.path}: {model.logits.shape[1]} classes, but {target.path} has "
                                f"{target.logits.shape[1]}")


def build_run(found, layout, label, seed):
    """Write the run's split and every model's queries.npz, sensitivity.npz and config.json; returns the Split.

    Raises CompLeakError where the folder already holds a run of other answers.
    """
    worlds = next(iter(found.values()))
    target, *shadows = worlds.values()
    named = np.stack([np.concatenate([getattr(m, name) for m in worlds.values()]) for name in ("index", "labels")])
    split = own_split(target, shadows, digest(np.unique(named, axis=1)), seed)
    settings = Settings(seed=seed, shadow_num=len(shadows), train_size=split.train_size, image_size=None, augment=None,
                        data_label=label, classes=tuple(str(c) for c in range(target.logits.shape[1])),
                        outputs={str(v): [m.weights for m in models.values()] for v, models in found.items()})
    for models in found.values():
        for world in split.worlds:
            _check_sensitivity(models[world.name], world)
    run = Run(layout)
    with locked(run.path):  # two audits may be started into one folder at once
        held = run.settings if run.path.exists() else settings
        if (held.outputs, held.seed) != (settings.outputs, settings.seed):
            raise CompLeakError(f"{layout.root()} already holds an audit of other answers or another --seed: name "
                                "another --run_dir")
        write_json(run.path, {"run": settings.as_json(), **to_json(split)})  # first: the folder is then this audit's
        for version, models in found.items():
            for world in split.worlds:
                original = found[ORIGINAL][world.name].weights if ORIGINAL in found and version != ORIGINAL else None
                _write_model(layout, version, world, models[world.name], original, split, seed)
    return split


def _check_sensitivity(model, world):
    missing = 0 if model.sensitivity is None else int((~np.isin(world.evaluation, model.sensitivity[0])).sum())
    if missing:
        raise CompLeakError(f"{model.path.parent}: sensitivity.npz lacks {missing} of the {len(world.evaluation)} rows "
                            "to be scored; measure them, or remove the file")


def _write_model(layout, version, world, model, original, split, seed):
    meta = {"variant": str(version), "world": world.name, "weights": model.weights, "parent": original,
            "split": split.fingerprint, "data": split.data_fingerprint}
    arrays = {name: getattr(model, name) for name in ("logits", "losses", "labels", "index", "member")}
    save_arrays(layout.file(version, world.name, "queries.npz"), {**meta, "rows": OWN.dataset}, **arrays)
    index = np.sort(world.evaluation)
    if model.sensitivity is not None:
        asked, values = model.sensitivity
        save_arrays(layout.file(version, world.name, "sensitivity.npz"), meta, index=index,
                    sensitivity=values[np.searchsorted(asked, index)])
    inside, outside = model.accuracy(index)
    write_json(layout.file(version, world.name, "config.json"),
               {"settings": {"technique": version.technique, "degree": version.degree, "epochs": None, "seed": seed},
                "weights": model.weights, "bytes": None, "ratio": None, "accuracy_in": inside,
                "accuracy_out": outside})


def describe(split, found):
    """What was read, one line a world: how many rows are scored and how many were cut or serve comparison alone.

    Then one line a model: how often it is right, so that a swapped sign, label or membership shows.
    """
    lines = []
    for world, model in zip(split.worlds, next(iter(found.values())).values(), strict=True):
        inside, outside = len(world.members), len(world.non_members)
        text = f"{world.name}: {world.scored:,} members and {world.scored:,} non-members are scored"
        if inside != outside:
            text += f", cut to equal numbers from {inside:,} and {outside:,}"
        lines.append(f"{text}; {len(model.index):,} rows asked in all")
    return lines + [_accuracies(version, world, models[world.name]) for version, models in found.items()
                    for world in split.worlds]


def _accuracies(version, world, model):
    """One line on a model, with what may be wrong with one that knows its members no better than by chance."""
    inside, outside = model.accuracy(np.sort(world.evaluation))
    line = (f"{version} {world.name}: accuracy {100 * inside:.2f}% on members, {100 * outside:.2f}% on non-members")
    if record.at_chance({"accuracy_in": inside}, model.logits.shape[1], world.scored):
        line += "; members at chance or below: look at the labels' order and the sign of the logits"
    elif outside > inside and record.differ(inside, outside, world.scored):
        line += "; non-members are known better: look whether member says True for the training data"
    return line


def label(text):
    """What the audited data and model are called in tables, from its flag: one line, not empty."""
    if not re.fullmatch(r"[^\x00-\x1f]+", text.strip()):
        raise ValueError
    return text.strip()


def main(argv=None):
    p = Parser(description=__doc__.split("\n")[0])
    p.add_argument("--outputs", type=Path, required=True, help="folder of answers: original/target.npz, …; no default")
    p.add_argument("--run_dir", default=".", help="folder of the run to be built (default: here)")
    p.add_argument("--data_label", type=label, default="own models", help="name in tables (default: own models)")
    p.add_argument("--seed", type=int, default=0, help="seed of the attacks and of rows that are cut (default: 0)")
    args = p.parse_args(argv)
    layout = Layout(Path(args.run_dir), OWN.dataset, OWN.model)
    found = read_folder(args.outputs)
    split = build_run(found, layout, args.data_label, args.seed)
    print(f"{len(found)} version(s) of {len(split.worlds)} model(s) from {args.outputs}: {', '.join(map(str, found))}")
    print("\n".join(describe(split, found)))
    print(f"next: {hints.attacks(layout, 'NR', list(found))}")


if __name__ == "__main__":
    run_command(main)
