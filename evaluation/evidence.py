"""The evidence of runs that are judged together: every attack's scores of each, and that only their seeds differ."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attacks.saved import attack_scores, multi_or_none, read_results, shadow_areas
from common.errors import CompLeakError, UsageError
from common.files import read_json
from common.paths import ORIGINAL, Layout
from common.provenance import digest
from models import hints, protocol
from models.run import Run

# Settings in which runs of different seeds may differ: what follows from the seed, and names that decide nothing.
FREE = {"seed", "split_fingerprint", "parent", "world", "data_label", "data_dir", "statistics", "outputs"}


@dataclass(frozen=True)
class Evidence:
    """One run's attacks on its target's scored points.

    scores: {(setting, model, attack): [n]}, high for members · member [n] bool · groups: {MR's group: [model]} ·
    settings: {what they belong to: {name: value}}, all that must agree with other runs · areas: {(setting, model,
    attack): AUC on the shadows' rows, a fraction}, of the attacks that have scores there.
    """

    run: Run
    scores: dict
    member: np.ndarray
    groups: dict
    settings: dict
    areas: dict


def read(run):
    """The Evidence of a run; one line is printed on each kind of result that is missing, with its command.

    Raises CompLeakError where scores of different points lie side by side, or there are none at all.
    """
    results = read_all(run)
    if not results:
        raise CompLeakError(f"{run.layout.root()} has no attack's results yet: run "
                            f"{hints.attacks(run.layout, 'NR', [ORIGINAL])}")
    scores, areas, points = {}, {}, None
    for (setting, version), result in results.items():
        index, member, found = attack_scores(run, version, setting, result["attacks"])
        if points is None:
            points = np.stack([index, member])
        elif not np.array_equal(points, np.stack([index, member])):
            raise CompLeakError(f"{run.layout.result(version, setting + '_scores.npz')} scores other points than the "
                                "run's other attacks: delete it and the .json beside it, and run the attack again")
        on_shadow = shadow_areas(run, version, setting, result["attacks"])
        for attack, values in found.items():
            model, name = attack.rsplit(", ", 1) if setting == "MR" else (str(version), attack)
            scores[setting, model, name] = values
            if attack in on_shadow:
                areas[setting, model, name] = on_shadow[attack]
    _mention_samia(run, results)
    groups = results["MR", ORIGINAL]["groups"] if ("MR", ORIGINAL) in results else {}
    return Evidence(run, scores, points[1].astype(bool), groups, _settings(run, results, groups),
                    areas)


def read_all(run):
    """{(setting, Version): values} of every result file of a run, as far as it holds."""
    results = {("NR", version): result for version, result in read_results(run, "NR").items()}
    results |= {("SR", version): result for version, result in read_results(run, "SR").items()}
    if (multi := multi_or_none(run, "MR is left out")) is not None:
        results["MR", ORIGINAL] = multi
    return results


def _mention_samia(run, results):
    without = [version for (setting, version), result in results.items()
               if setting == "NR" and "SAMIA" not in result["attacks"]]
    if without and not run.layout.is_own:  # an audit said so when it attacked
        print(f"SAMIA is left out for {', '.join(map(str, without))}: it needs sensitivities, so repeat the training "
              f"commands without --no-sensitivity, then {hints.attacks(run.layout, 'NR', without)}")


def _settings(run, results, groups):
    split = run.split
    found = {"the run": {**run.settings.as_json(), "data": split.data_digest, "pictures": split.n}}
    for version in run.versions():
        found[f"the model {version}"] = run.config(version).get("settings", {})
    for (setting, version), result in results.items():
        if setting == "NR":
            options = {}
            for metrics in result["attacks"].values():
                options |= metrics["inputs"].get("options", {})
            found[f"NR on {version}"] = {**options, "number of shadows": result["shadows"]}
    found |= {f"MR's group '{name}'": {"models": models} for name, models in groups.items()}
    return {where: {name: value for name, value in settings.items() if name not in FREE}
            for where, settings in found.items()}


def check_together(evidence):
    """Raises UsageError for runs of one seed and target, or of settings that differ in anything but the seed."""
    first = evidence[0]
    for i, one in enumerate(evidence):
        folder, seed = one.run.layout.run_dir, one.run.settings.seed
        for other in evidence[:i]:
            if other.run.settings.seed == seed and other.run.layout.attacked == one.run.layout.attacked:
                raise UsageError(f"--run_dir {other.run.layout.run_dir} {folder}: both have seed {seed}, so the second "
                                 "tells nothing new: name runs of different seeds (train.py --seed)")
        for where in [where for where in first.settings if where in one.settings]:
            ours, theirs = first.settings[where], one.settings[where]
            for name in dict.fromkeys([*ours, *theirs]):
                if ours.get(name) != theirs.get(name):
                    raise UsageError(
                        f"--run_dir {folder}: {name} of {where} is {theirs.get(name)}, in "
                        f"{first.run.layout.run_dir} it is {ours.get(name)}; only runs that differ in nothing but the "
                        "seed are combined: leave one out, or make it again with the other's settings")


def pair_retrained(runs, folders):
    """{protocol: [(sound Run, the Run retrained under that protocol)]} of the folders named with --retrained.

    UsageError for one that differs from its sound run in more than the protocol, or in nothing, or is a second one.
    """
    sound = {run.split.digest: run for run in runs}
    found = {}
    for folder in folders:
        other = Run(Layout(Path(folder), runs[0].layout.dataset, runs[0].layout.model))
        run = sound.get(other.split.digest)
        if run is None:
            raise UsageError(f"--retrained {folder}: its split is that of no --run_dir; train it with the same data, "
                             "--seed and --train_size")
        name = other.settings.protocol
        if name == protocol.SOUND:
            raise UsageError(f"--retrained {folder}: its protocol is sound; name a run of train.py --protocol …")
        pairs = found.setdefault(name, [])
        if run in [one for one, _ in pairs]:
            raise UsageError(f"--retrained {folder}: another folder holds {name} with the same seed; name one of them")
        _check_settings(run, other)
        pairs.append((run, other))
    return found


def _check_settings(run, other):
    """UsageError where a model that two runs have was trained with other settings, the protocol apart."""
    for version in [version for version in run.versions() if version in other.versions()]:
        ours, theirs = (one.config(version).get("settings", {}) for one in (run, other))
        for name in sorted({*ours, *theirs} - FREE - protocol.TRAINING.keys()):
            if ours.get(name) != theirs.get(name):
                raise UsageError(f"--retrained {other.layout.run_dir}: {name} of the model {version} is "
                                 f"{theirs.get(name)}, in {run.layout.run_dir} it is {ours.get(name)}; train it with "
                                 "the settings of that run")


def common_keys(evidence):
    """The attacks that every run has, in the first one's order; one line is printed on those that some runs lack."""
    everything = dict.fromkeys(key for one in evidence for key in one.scores)
    lacking = [key for key in everything if not all(key in one.scores for one in evidence)]
    if lacking:
        names = ", ".join(dict.fromkeys(f"{setting} {model}" for setting, model, _ in lacking))
        print(f"left out, since not every run has all of its attacks: some of {names}")
    return [key for key in everything if key not in lacking]


def results_digest(run):
    """Names the result files of a run, to see whether something was judged on them."""
    paths = [(version, name, run.layout.result(version, name)) for version in run.versions()
             for name in ("NR.json", "SR.json", "MR.json")]
    return digest(*(part for version, name, path in paths if path.exists()
                    for part in (f"{version} {name}", path.read_bytes())))


def read_judged(run, name, module, results_of):
    """The values of a file that was judged on a run's results, or None where there is none or the results changed.

    results_of: values → the `results_digest` that they were judged on, something false for another format.
    """
    path, made_by = run.layout.result(ORIGINAL, name), hints.module(run.layout, module)
    if not path.exists():
        return None
    with hints.mending(made_by):
        saved = read_json(path)
    if results_of(saved) != results_digest(run):
        print(f"{path} was made from other results than are there now: run {made_by}")
        return None
    return saved
