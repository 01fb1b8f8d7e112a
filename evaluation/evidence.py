"""What runs' attacks found: every result that holds, its scores, and whether runs differ in nothing but the seed."""
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attacks.inputs import identities
from attacks.results import Results
from attacks.saved import multi_or_none, read_results
from common.errors import CompLeakError, UsageError
from common.files import read_json
from common.metrics import auc
from common.paths import ORIGINAL, TARGET, Layout
from common.provenance import digest
from models import hints, protocol
from models.compression import short
from models.run import Run

# Settings in which runs of different seeds may differ: what follows from the seed, and names that decide nothing.
FREE = {"seed", "split_fingerprint", "parent", "world", "data_label", "data_dir", "statistics", "outputs"}


@dataclass(frozen=True)
class Evidence:
    """What one run's attacks found on its target's scored points, as far as it holds.

    nr, sr: {Version: values of NR.json, SR.json} · multi: values of MR.json, None without · scores: {key of
    evaluation/names.py: [n]}, high for members · areas: {key: AUC on the shadows' rows, a fraction} where there are
    scores of these · index [n] and member [n] bool of the points, None without any attack.
    """

    run: Run
    nr: dict
    sr: dict
    multi: dict | None
    scores: dict
    areas: dict
    index: np.ndarray | None
    member: np.ndarray | None

    @property
    def groups(self):
        """{MR's group: [model]}."""
        return self.multi["groups"] if self.multi else {}

    def metrics(self, setting, version):
        """{attack: metrics} of NR or SR on a version, empty without."""
        return {"NR": self.nr, "SR": self.sr}[setting].get(version, {"attacks": {}})["attacks"]


def read(run):
    """The Evidence of a run, empty without any attack; one line is printed on each kind of result that is missing."""
    return gather(run, read_results(run, "NR"), read_results(run, "SR"), multi_or_none(run))


def read_some(run):
    """As `read`; CompLeakError, naming the command, where nothing was attacked."""
    found = read(run)
    if not found.scores:
        raise CompLeakError(f"{run.layout.root()} has no attack's results yet: run "
                            f"{hints.attacks(run.layout, 'NR', [ORIGINAL])}")
    return found


def gather(run, nr, sr, multi=None):
    """The Evidence of these results; CompLeakError where scores of different points lie side by side."""
    files = [("NR", *item) for item in nr.items()] + [("SR", *item) for item in sr.items()]
    scores, areas, points = {}, {}, None
    for setting, version, result in files + ([("MR", ORIGINAL, multi)] if multi else []):
        saved = Results(run, version, setting)
        index, member, scored = saved.scored(result["attacks"])
        if points is not None and not np.array_equal(points, (index, member)):
            raise CompLeakError(f"{saved.scores_path} scores other points than the run's other attacks: delete it and "
                                "the .json beside it, and run the attack again")
        points, on_shadow = (index, member), saved.shadow_member()
        for name, one in scored.items():
            key = (setting, *(name.rsplit(", ", 1) if setting == "MR" else (str(version), name)))
            scores[key] = one.scores
            if on_shadow is not None and one.on_shadow is not None:
                areas[key] = auc(one.on_shadow, on_shadow)
    return Evidence(run, nr, sr, multi, scores, areas, *(points or (None, None)))


def mention_samia(found):
    """Print one line on the versions that SAMIA could not attack; an audit said so when it attacked, its target does
    for a run's shadows."""
    without = [version for version, result in found.nr.items() if "SAMIA" not in result["attacks"]]
    layout = found.run.layout
    if without and not layout.is_own and layout.attacked == TARGET:
        print(f"SAMIA is left out for {', '.join(map(short, without))}: it needs sensitivities, so repeat the training "
              f"commands without --no-sensitivity, then {hints.attacks(layout, 'NR', without)}")


def _settings(one):
    """{what they belong to: {name: value}}: all in which runs that are judged together must agree."""
    run, split = one.run, one.run.split
    found = {"the run": {**run.settings.as_json(), "data": split.data_digest, "pictures": split.n}}
    for version in run.versions():
        found[f"the model {version}"] = run.config(version).get("settings", {})
    for version, result in one.nr.items():
        options = {}
        for metrics in result["attacks"].values():
            options |= metrics["inputs"].get("options", {})
        found[f"NR on {version}"] = {**options, "number of shadows": result["shadows"]}
    found |= {f"MR's group '{name}'": {"models": models} for name, models in one.groups.items()}
    return {where: {name: value for name, value in settings.items() if name not in FREE}
            for where, settings in found.items()}


def check_together(evidence):
    """Raises UsageError for runs of one seed and target, or of settings that differ in anything but the seed."""
    folders = {}
    for one in evidence:
        layout, seed = one.run.layout, one.run.settings.seed
        if other := folders.get((seed, layout.attacked)):
            raise UsageError(f"--run_dir {other} {layout.run_dir}: both have seed {seed}, so the second tells nothing "
                             "new: name runs of different seeds (train.py --seed)")
        folders[seed, layout.attacked] = layout.run_dir
    first, *others = [_settings(one) for one in evidence]
    for one, theirs in zip(evidence[1:], others, strict=True):
        for where in [where for where in first if where in theirs]:
            if name := _differing(first[where], theirs[where]):
                raise UsageError(
                    f"--run_dir {one.run.layout.run_dir}: {name} of {where} is {theirs[where].get(name)}, in "
                    f"{evidence[0].run.layout.run_dir} it is {first[where].get(name)}; only runs that differ in "
                    "nothing but the seed are combined: leave one out, or make it again with the other's settings")


def _differing(ours, theirs):
    """The first name whose value differs between two dictionaries, or None."""
    return next((name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)), None)


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
        ours, theirs = ({name: value for name, value in one.config(version).get("settings", {}).items()
                         if name not in FREE | protocol.TRAINING.keys()} for one in (run, other))
        if name := _differing(ours, theirs):
            raise UsageError(f"--retrained {other.layout.run_dir}: {name} of the model {version} is "
                             f"{theirs.get(name)}, in {run.layout.run_dir} it is {ours.get(name)}; train it with the "
                             "settings of that run")


def common_keys(evidence):
    """The attacks that every run has, in the first one's order; one line is printed on those that some runs lack."""
    everything = dict.fromkeys(key for one in evidence for key in one.scores)
    lacking = [key for key in everything if not all(key in one.scores for one in evidence)]
    if lacking:
        names = ", ".join(dict.fromkeys(f"{setting} {model}" for setting, model, _ in lacking))
        print(f"left out, since not every run has all of its attacks: some of {names}")
    return [key for key in everything if key not in lacking]


def origins(runs):
    """For a file of what is judged on runs: where each lies, as seen from the first, and what its results were."""
    first = runs[0].layout.run_dir
    return [{"folder": os.path.relpath(run.layout.run_dir, first), "results": results_digest(run)} for run in runs]


def results_digest(run):
    """Names a run's protocol, the answers of its models and its result files, to see whether judgements on them hold.

    Answers count beside the files: a result file stays as it is when they change.
    """
    found = [run.settings.protocol]
    for version in run.versions():
        try:
            found.append(identities(run, version))
        except CompLeakError:  # no result holds that was made from them
            found.append(None)
        paths = [run.layout.result(version, name) for name in ("NR.json", "SR.json", "MR.json")]
        found += [part for path in paths if path.exists() for part in (f"{version} {path.name}", path.read_bytes())]
    return digest(*found)


def read_judged(runs, name, module, origins_of):
    """The values of a file that was judged on runs and lies in the first, or None where the results of one changed.

    runs: the first, and others that are open already; origins_of: values → their `origins`, none for another format.
    """
    layout, *others = [run.layout for run in runs]
    path, made_by = layout.result(ORIGINAL, name), hints.module(layout, module, *others)
    if not path.exists():
        return None
    with hints.mending(made_by):
        saved = read_json(path)
    now = {one["folder"]: one["results"] for one in origins(runs)}
    was = origins_of(saved)
    if not was or any(one["results"] != (now.get(one["folder"]) or _digest_at(layout, one["folder"])) for one in was):
        print(f"{path} was made from other results than are there now: run {made_by}")
        return None
    return saved


def _digest_at(layout, folder):
    """The `results_digest` of the run in a folder beside this one, None without one."""
    try:
        return results_digest(Run(replace(layout, run_dir=Path(os.path.normpath(Path(layout.run_dir) / folder)))))
    except CompLeakError:
        return None
