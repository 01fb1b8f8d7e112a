"""Runs that are judged together: every attack's scores of each, and that they differ in seed or protocol alone."""
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attacks.saved import attack_commands, attack_scores, read_multi, read_results
from common.errors import CompLeakError, UsageError
from common.files import read_json
from common.paths import ORIGINAL, Layout
from models import protocol
from models.run import load_split, read_run

# Settings in which runs of different seeds may differ: what follows from the seed, and names that decide nothing.
FREE = {"seed", "split_fingerprint", "parent", "world", "data_label", "outputs"}


@dataclass(frozen=True)
class Run:
    """One run's attacks on its target's scored points.

    scores: {(setting, model, attack): [n]}, high for members · member [n] bool · groups: {MR's group: [model]} ·
    settings: {what they belong to: {name: value}}, all that must agree with other runs.
    """

    layout: Layout
    seed: int
    split: str
    scores: dict
    member: np.ndarray
    groups: dict
    settings: dict


def read(layout):
    """The Run in a folder; one line is printed on each kind of result that is missing, with its command.

    Raises CompLeakError where scores of different points lie side by side, or there are none at all.
    """
    results = {("NR", version): result for version, result in read_results(layout, "NR").items()}
    results |= {("SR", version): result for version, result in read_results(layout, "SR").items()}
    try:
        results["MR", ORIGINAL] = read_multi(layout)
    except CompLeakError as error:
        print(f"MR is left out: {error}")
    if not results:
        raise CompLeakError(f"{layout.root()} has no attack's results yet: run "
                            f"{attack_commands(layout, 'NR', [ORIGINAL])}")
    scores, points = {}, None
    for (setting, version), result in results.items():
        arrays = attack_scores(layout, version, setting, result, result["attacks"], ("index", "member"))
        found = np.stack([arrays["index"], arrays["member"]])
        if points is None:
            points = found
        elif not np.array_equal(points, found):
            raise CompLeakError(f"{layout.result(version, setting + '_scores.npz')} scores other points than the run's "
                                "other attacks: delete it and the .json beside it, and run the attack again")
        for attack in result["attacks"]:
            model, name = attack.rsplit(", ", 1) if setting == "MR" else (str(version), attack)
            scores[setting, model, name] = arrays[attack]
    _mention_samia(layout, results)
    run, split = read_run(layout), load_split(layout)
    groups = results["MR", ORIGINAL]["inputs"]["groups"] if ("MR", ORIGINAL) in results else {}
    return Run(layout, run["seed"], split.fingerprint, scores, points[1].astype(bool), groups,
               _settings(layout, run, split, results, groups))


def _mention_samia(layout, results):
    without = [version for (setting, version), result in results.items()
               if setting == "NR" and "SAMIA" not in result["attacks"]]
    if without:
        print(f"SAMIA is left out for {', '.join(map(str, without))}: it needs sensitivities, so repeat the training "
              f"commands without --no-sensitivity, then {attack_commands(layout, 'NR', without)}")


def _settings(layout, run, split, results, groups):
    found = {"the run": {"protocol": "sound", **run, "data": split.data_fingerprint, "pictures": split.n}}
    for version in layout.versions():
        config = read_json(layout.file(version, "target", "config.json"), layout.command(version))
        found[f"the model {version}"] = config.get("settings", {})
    for (setting, version), result in results.items():
        if setting == "NR":
            inputs = result["inputs"]
            found[f"NR on {version}"] = {name: inputs.get(name) for name in ("batch_size", "rmia_a")} | {
                "number of shadows": len(inputs["weights"]) - 1}
    found |= {f"MR's group '{name}'": {"models": models} for name, models in groups.items()}
    return {where: {name: value for name, value in settings.items() if name not in FREE}
            for where, settings in found.items()}


def check_together(runs):
    """Raises UsageError for runs of one seed, or of settings that differ in anything but the seed."""
    first = runs[0]
    for i, run in enumerate(runs):
        for other in runs[:i]:
            if other.seed == run.seed:
                raise UsageError(f"--run_dir {other.layout.run_dir} {run.layout.run_dir}: both have seed {run.seed}, "
                                 "so the second tells nothing new: name runs of different seeds (train.py --seed)")
        for where in [where for where in first.settings if where in run.settings]:
            ours, theirs = first.settings[where], run.settings[where]
            for name in dict.fromkeys([*ours, *theirs]):
                if ours.get(name) != theirs.get(name):
                    raise UsageError(
                        f"--run_dir {run.layout.run_dir}: {name} of {where} is {theirs.get(name)}, in "
                        f"{first.layout.run_dir} it is {ours.get(name)}; only runs that differ in nothing but the seed "
                        "are combined: leave one out, or make it again with the other's settings")


def pair_retrained(layouts, folders):
    """{protocol: [(sound run, its Layout retrained under that protocol)]} of the folders named with --retrained.

    UsageError for one that differs from its sound run in more than the protocol, or in nothing, or is a second one.
    """
    sound = {load_split(layout).fingerprint: layout for layout in layouts}
    found = {}
    for folder in folders:
        other = replace(layouts[0], run_dir=Path(folder))
        layout = sound.get(load_split(other).fingerprint)
        if layout is None:
            raise UsageError(f"--retrained {folder}: its split is that of no --run_dir; train it with the same data, "
                             "--seed and --train_size")
        name = read_run(other)["protocol"]
        if name == protocol.SOUND:
            raise UsageError(f"--retrained {folder}: its protocol is sound; name a run of train.py --protocol …")
        pairs = found.setdefault(name, [])
        if layout in [one for one, _ in pairs]:
            raise UsageError(f"--retrained {folder}: another folder holds {name} with the same seed; name one of them")
        _check_settings(layout, other)
        pairs.append((layout, other))
    return found


def _check_settings(layout, other):
    """UsageError where a model that two runs have was trained with other settings, the protocol apart."""
    for version in [version for version in layout.versions() if version in other.versions()]:
        ours, theirs = (read_json(one.file(version, "target", "config.json"), one.command(version)).get("settings", {})
                        for one in (layout, other))
        for name in sorted({*ours, *theirs} - FREE - protocol.TRAINING.keys()):
            if ours.get(name) != theirs.get(name):
                raise UsageError(f"--retrained {other.run_dir}: {name} of the model {version} is {theirs.get(name)}, "
                                 f"in {layout.run_dir} it is {ours.get(name)}; train it with the settings of that run")


def common_keys(runs):
    """The attacks that every run has, in the first one's order; one line is printed on those that some runs lack."""
    everything = dict.fromkeys(key for run in runs for key in run.scores)
    lacking = [key for key in everything if not all(key in run.scores for run in runs)]
    if lacking:
        names = ", ".join(dict.fromkeys(f"{setting} {model}" for setting, model, _ in lacking))
        print(f"left out, since not every run has all of its attacks: some of {names}")
    return [key for key in everything if key not in lacking]


def fingerprint(layout):
    """16 hex digits that name the result files of a run, to see whether a claim was judged on them."""
    digest = hashlib.sha256()
    for version in layout.versions():
        for name in ("NR.json", "SR.json", "MR.json"):
            path = layout.result(version, name)
            if path.exists():
                digest.update(f"{version} {name}".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
