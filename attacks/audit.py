"""Models made elsewhere: a folder of their answers becomes a run that every attack, table, figure and report reads.

FOLDER holds original/target.npz and, with as many shadows as there are, original/shadow_0.npz, …; compressed versions
lie in folders beside it, each with the same worlds: pruning_0.6/, quantization_int8/, clustering_4/, or any other name,
such as int4/ or distilled_half/. A world may also be a folder with queries.npz and sensitivity.npz, as models.audit.ask
writes them. Rows beyond those that are scored, such as the shadow's answers on the target's pictures, are what RMIA and
calibrated attacks compare with.
"""
import numpy as np

from common.errors import CompLeakError, UsageError
from common.files import locked, save_arrays, write_json
from common.paths import ORIGINAL, OWN, Version
from common.provenance import digest
from data.names import is_system, shown
from data.splits import to_json
from models import compression, record
from models.outputs import joined, own_split, read_outputs
from models.run import Run, Settings


def import_folder(folder, layout, label, seed):
    """Make a run of a folder of answers; returns the Run and what to say of it, a list of lines.

    label: what data and model are called in tables; seed of the attacks and of rows that are cut. A run of the same
    answers is written again, and one of fewer versions is added to. Raises CompLeakError, in one line, for what does
    not fit, and where the run's folder holds other answers.
    """
    found = read_folder(folder)
    worlds = _join_versions(found)
    run = _build_run(found, worlds, layout, label, seed)
    first = f"{len(found)} version(s) of {len(worlds)} model(s) from {folder}: {', '.join(map(str, found))}"
    return run, [first, *_describe(run, found, worlds)]


def read_folder(folder):
    """{Version: {world's name: Outputs}}, target first; CompLeakError, in one line, for anything that does not fit."""
    if not folder.is_dir():
        raise UsageError(f"--outputs {folder}: there is no such folder")
    found, places = {}, {}
    for part in sorted(part for part in folder.iterdir() if part.is_dir() and not is_system(part.name)):
        version = _version(part)
        name = str(version).casefold()  # some file systems tell capitals apart, others do not
        if name in places:
            raise CompLeakError(f"{places[name]} and {part} are one version, {version}: leave one of them")
        places[name], found[version] = part, _read_version(part)
    if not found:
        raise CompLeakError(f"{folder} holds no models: put answers into {folder / 'original' / 'target.npz'}")
    first = found.get(ORIGINAL) or next(iter(found.values()))
    for models in found.values():
        _check_alike(first, models)
    return {version: found[version] for version in sorted(found, key=lambda version: version != ORIGINAL)}


def _version(part):
    if part.name == str(ORIGINAL):
        return ORIGINAL
    named = Version.named(part.name)
    try:
        return compression.parse_any(named.technique, named.degree or part.name[len(named.technique):])  # such as int4_
    except UsageError as error:
        raise CompLeakError(f"{shown(part)}: {error}") from None


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
    """Raises CompLeakError unless both versions have the same worlds and all models the same classes."""
    target, other = first["target"], models["target"]
    if models.keys() != first.keys():
        raise CompLeakError(f"{other.path} stands beside {', '.join(models)}, but {target.path} beside "
                            f"{', '.join(first)}: give every version the same worlds")
    for model in models.values():
        if model.logits.shape[1] != target.logits.shape[1]:
            raise CompLeakError(f"{model.path}: {model.logits.shape[1]} classes, but {target.path} has "
                                f"{target.logits.shape[1]}")


def _join_versions(found):
    """{world's name: Asked} of what `read_folder` gave; CompLeakError where one index has two labels or members."""
    worlds = {world: joined([models[world] for models in found.values()]) for world in next(iter(found.values()))}
    labels = np.unique(np.concatenate([np.stack([asked.index, asked.labels], 1) for asked in worlds.values()]), axis=0)
    if len(np.unique(labels[:, 0])) < len(labels):
        raise CompLeakError(f"{worlds['target'].path}: target and shadow give one index different labels; an index "
                            "names one input")
    return worlds


def _build_run(found, worlds, layout, label, seed):
    """Write the run's split and every model's queries.npz, sensitivity.npz and config.json; returns the Run."""
    target, *shadows = worlds.values()
    named = np.stack([np.concatenate([getattr(asked, name) for asked in worlds.values()])
                      for name in ("index", "labels")])
    split = own_split(target, shadows, digest(np.unique(named, axis=1)), seed)
    classes = next(iter(found.values()))["target"].logits.shape[1]
    settings = Settings(seed=seed, shadow_num=len(shadows), train_size=split.train_size, image_size=None, augment=None,
                        data_label=label, classes=tuple(map(str, range(classes))),
                        outputs={str(v): [m.weights for m in models.values()] for v, models in found.items()})
    for models in found.values():
        for world in split.worlds:
            _check_sensitivity(models[world.name], world)
    with locked(Run(layout).path):  # two audits may be started into one folder at once
        _check_held(Run(layout), settings, split)
        write_json(Run(layout).path, {"run": settings.as_json(), **to_json(split)})  # the folder is then this audit's
        for version, models in found.items():
            for world in split.worlds:
                original = found[ORIGINAL][world.name].weights if ORIGINAL in found and version != ORIGINAL else None
                _write_model(layout, version, world, models[world.name], original, split, seed)
    return Run(layout)


def _check_held(run, settings, split):
    """Raises CompLeakError where the folder's run is of other answers, not of these or of fewer versions of them."""
    if run.path.exists() and not (to_json(run.split) == to_json(split) and
                                  (run.settings.outputs or {}).items() <= settings.outputs.items()):
        raise CompLeakError(f"{run.layout.root()} already holds an audit of other answers or another --seed: name "
                            "another --run_dir")


def _check_sensitivity(model, world):
    missing = 0 if model.sensitivity is None else int((~np.isin(world.evaluation, model.sensitivity[0])).sum())
    if missing:
        raise CompLeakError(f"{model.path.parent}: sensitivity.npz lacks {missing} of the {len(world.evaluation)} rows "
                            "to be scored; measure them, or remove the file")


def _write_model(layout, version, world, model, original, split, seed):
    meta = {"variant": str(version), "world": world.name, "weights": model.weights, "parent": original,
            "split": split.digest, "data": split.data_digest}
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


def _describe(run, found, worlds):
    """What was read, one line a world: how many rows are scored and how many were cut or serve comparison alone.

    Then one line a model: how often it is right, so that a swapped sign, label or membership shows.
    """
    lines = []
    for world, asked in zip(run.split.worlds, worlds.values(), strict=True):
        inside, outside = len(world.members), len(world.non_members)
        text = f"{world.name}: {world.scored:,} members and {world.scored:,} non-members are scored"
        if inside != outside:
            text += f", cut to equal numbers from {inside:,} and {outside:,}"
        text += f"; {len(asked.index):,} rows asked in all"
        lines.append(text + (f", {asked.missed:,} of them not of every version" if asked.missed else ""))
    return lines + [_accuracies(version, world, models[world.name]) for version, models in found.items()
                    for world in run.split.worlds]


def _accuracies(version, world, model):
    """One line on a model, with what may be wrong with one that knows its members no better than by chance."""
    inside, outside = model.accuracy(np.sort(world.evaluation))
    line = (f"{version} {world.name}: accuracy {100 * inside:.2f}% on members, {100 * outside:.2f}% on non-members")
    if record.at_chance({"accuracy_in": inside}, model.logits.shape[1], world.scored):
        line += "; members at chance or below: look at the labels' order and the sign of the logits"
    elif outside > inside and record.differ(inside, outside, world.scored):
        line += "; non-members are known better: look whether member says True for the training data"
    return line
