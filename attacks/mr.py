"""Multiple references: several compressed models together. `python -m attacks.mr` is the notebook without it."""
import numpy as np
from tqdm import tqdm

from attacks.arguments import open_run
from attacks.inputs import need_shadows, read_version, stacked
from attacks.mr_network import multi_score, side_by_side, train_multi
from attacks.networks import accuracy_judge
from attacks.results import as_arrays, evaluate_all, finished, load_scores, report, save
from attacks.saved import attack_commands
from common.command import run
from common.device import choose_device
from common.errors import CompLeakError
from common.files import locked
from common.paths import DEGREES, ORIGINAL, Version
from common.seeds import derive_seed
from models import protocol
from models.arguments import parser

INT8 = Version("quantization", "int8")
GROUPS = {
    "pruned four": [Version("pruning", degree) for degree in DEGREES["pruning"]],
    "clustered three": [Version("clustering", degree) for degree in DEGREES["clustering"]],
    "pruned + int8": [Version("pruning", degree) for degree in DEGREES["pruning"]] + [INT8],
    "all eight": [Version(technique, degree) for technique, degrees in DEGREES.items() for degree in degrees],
}
STAND_INS = {"with the original": "SR2", "without the original": "train_based_2"}


def attack(targets, shadows, scores, members, seed, device, best_epoch=False):
    """(scores [m] log-odds, decisions [m] bool) of the MR network on the target.

    targets: k Answers of the target's versions; shadows: k lists of the shadows' Answers; scores: k pairs of member
    probabilities (target's [m], shadows' [Σm] cross-fitted); members: the shadows' [Σm] bool and the target's [m].
    best_epoch: keep the epoch that is best on the target, as the released protocol does; else the last.
    """
    shadow_losses = np.stack([stacked(version, "losses") for version in shadows], axis=1)
    target_losses = np.stack([target.losses for target in targets], axis=1)
    target_scores, shadow_scores = (np.stack(side, axis=1) for side in zip(*scores, strict=True))
    judge = accuracy_judge(side_by_side(target_scores, target_losses, device), members[1]) if best_epoch else None
    model = train_multi(shadow_scores, shadow_losses, members[0], seed, device, judge=judge)
    found = multi_score(model, target_scores, target_losses)
    return found, found > 0


def attack_groups(layout, seed, device, groups=None, shadow_num=None, choices=frozenset()):
    """MR for each group of versions, with and without the original; writes MR.json and MR_scores.npz, returns the JSON.

    groups: {name: [Version]}, default GROUPS; choices: of the released protocol (models/protocol.py). Raises
    CompLeakError, naming the command, where SR has not been run for a version or was run on other weights.
    """
    groups = groups or (own_groups(layout) if layout.is_own else GROUPS)
    wanted = list(dict.fromkeys(version for versions in groups.values() for version in versions))
    read = {version: read_version(layout, version, shadow_num) for version in wanted}
    target, shadows = read[wanted[0]]
    members = stacked(shadows, "member"), target.member
    outputs = {version: shadows for version, (_, shadows) in read.items()}
    need_shadows(layout, outputs[wanted[0]], "MR")
    if "int8_shadow" in choices:
        outputs = dict.fromkeys(wanted, read_version(layout, INT8, shadow_num)[1])
    from_sr = {version: sr_scores(layout, version, read[version]) for version in wanted}
    if len({inputs["original"] for _, inputs in from_sr.values()}) > 1:
        raise CompLeakError("the SR scores were made with different originals: run "
                            f"{attack_commands(layout, 'SR', wanted)} again")
    inputs = {"setting": "MR", "groups": {name: [str(v) for v in versions] for name, versions in groups.items()},
              "weights": {str(v): [model.weights for model in (read[v][0], *read[v][1])] for v in wanted},
              "sr": {str(v): from_sr[v][1] for v in wanted}, "seed": seed, **protocol.record(choices, "MR")}
    with locked(layout.result(ORIGINAL, "MR.json")) as path:
        result = finished(path, inputs)
        if result is not None:
            return result
        results = {}
        in_sample = "in_sample_forests" in choices
        for name, setting in tqdm([(name, setting) for name in groups for setting in STAND_INS], desc="MR networks"):
            stand_in, versions = STAND_INS[setting], groups[name]
            on_shadow = f"shadow_{stand_in}_in_sample" if in_sample else f"shadow_{stand_in}"
            scores = [(from_sr[v][0][f"target_{stand_in}"], from_sr[v][0][on_shadow]) for v in versions]
            results[f"{name}, {setting}"] = attack(
                [read[v][0] for v in versions], [outputs[v] for v in versions], scores, members,
                derive_seed(seed, "MR", name, setting), device, "best_attack_epoch" in choices)
        return save(path, layout.result(ORIGINAL, "MR_scores.npz"), inputs,
                    evaluate_all(results, target.member, seed, choices),
                    {"index": target.index, "member": target.member, **as_arrays(results)})


def own_groups(layout):
    """The groups of audited models: those of the paper that are whole, and all compressed versions together."""
    present = [version for version in layout.versions() if version != ORIGINAL]
    if len(present) < 2:
        raise CompLeakError(f"MR combines two or more compressed models, and {layout.root()} knows {len(present)}")
    groups = {name: versions for name, versions in GROUPS.items() if set(versions) <= set(present)}
    return groups if present in groups.values() else {**groups, f"all {len(present)}": present}


def sr_scores(layout, version, models):
    """(scores, inputs) that SR saved for one version, checked against the answers that MR uses."""
    command = attack_commands(layout, "SR", [version])
    names = [name for stand_in in STAND_INS.values()
             for name in (f"target_{stand_in}", f"shadow_{stand_in}", f"shadow_{stand_in}_in_sample")]
    arrays, inputs = load_scores(layout.result(version, "SR_scores.npz"), names, command)
    target, shadows = models
    if inputs["weights"] != [model.weights for model in (target, *shadows)]:
        raise CompLeakError(f"{layout.result(version, 'SR_scores.npz')} was made from other models than are there now: "
                            f"run {command} again")
    return arrays, inputs


def main(argv=None):
    args = parser(__doc__).parse_args(argv)
    layout, settings, _ = open_run(args)
    result = attack_groups(layout, settings["seed"], choose_device(args.device), shadow_num=args.shadow_num,
                           choices=protocol.parse(settings["protocol"]))
    report("CompLeakMR", result["attacks"])


if __name__ == "__main__":
    run(main)
