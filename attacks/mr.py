"""Multiple references: several compressed versions together. `python -m attacks.mr` is the notebook without it."""
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from attacks import nr, sr, train_based
from attacks.arguments import attack_context, open_run
from attacks.attack import Attack, Scored
from attacks.inputs import identities, need_shadows, read_version
from attacks.mr_network import multi_score, side_by_side, train_multi
from attacks.networks import accuracy_judge
from attacks.results import Results, report
from common.command import run as run_command
from common.errors import CompLeakError
from common.files import locked
from common.paths import ORIGINAL, Version
from common.seeds import derive_seed
from models import hints
from models.arguments import parser
from models.compression import TECHNIQUES, paper_versions
from models.record import say_at_chance

INT8 = Version("quantization", "int8")
# {what the attacker knows: (setting, attack) that gives each version's member probability}
AGGREGATED = {"with the original": ("SR", sr.AGGREGATED), "without the original": ("NR", train_based.AGGREGATED)}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def paper_groups():
    """{name: [Version]} of the paper: the pruned four, the clustered three, the pruned with int8, all eight."""
    versions = paper_versions()[1:]
    found = {}
    for technique in TECHNIQUES.values():
        members = [version for version in versions if version.technique == technique.name]
        if len(members) > 1:
            found[f"{technique.adjective} {NUMBERS[len(members)]}"] = members
    pruned = [version for version in versions if version.technique == "pruning"]
    return {**found, "pruned + int8": [*pruned, INT8], f"all {NUMBERS[len(versions)]}": versions}


def groups_of(versions):
    """{name: [Version]} of some compressed versions: the paper's groups that they fill, and all of them together."""
    found = {name: members for name, members in paper_groups().items() if set(members) <= set(versions)}
    if len(versions) > 1 and not any(set(members) == set(versions) for members in found.values()):
        found[f"all {len(versions)}"] = list(versions)
    return found


def run_groups(run):
    """The groups of a run: the paper's, or those that the versions of an audit fill; CompLeakError where there are not
    two."""
    if not run.layout.is_own:
        return paper_groups()
    present = [version for version in run.versions() if version != ORIGINAL]
    if len(present) < 2:
        raise CompLeakError(f"MR combines two or more compressed models, and {run.layout.root()} knows {len(present)}")
    return groups_of(present)


@dataclass(frozen=True)
class Group:
    """What the MR attack sees of k versions on the target's m and the shadows' Σm rows.

    target_losses [m, k] and shadow_losses [Σm, k] in nats; scored: the k aggregated attacks' Scored; member [m] and
    shadow_member [Σm] bool.
    """

    name: str
    target_losses: np.ndarray
    shadow_losses: np.ndarray
    scored: tuple
    member: np.ndarray
    shadow_member: np.ndarray


def network_attack(group, context):
    """The Scored of the MR network, log-odds, on a Group."""
    in_sample = "in_sample_forests" in context.choices
    on_shadow = np.stack([one.in_sample if in_sample else one.on_shadow for one in group.scored], axis=1)
    on_target = np.stack([one.scores for one in group.scored], axis=1)
    judge = None
    if "best_attack_epoch" in context.choices:  # as the released protocol does, on the target
        judge = accuracy_judge(side_by_side(on_target, group.target_losses, context.device), group.member)
    seed = derive_seed(context.seed, "MR", *group.name.rsplit(", ", 1))
    model = train_multi(on_shadow, group.shadow_losses, group.shadow_member, seed, context.device, judge=judge)
    found = multi_score(model, on_target, group.target_losses)
    return Scored(found, found > 0)


def attack_of(name):
    """The Attack on one group: a result's name is that of its group and of what is known."""
    return Attack(name, network_attack, short=name.removesuffix(" the original"),
                  choices=("best_attack_epoch", "int8_shadow", "in_sample_forests"))


def aggregated(run, version, knows, context, shadow_num=None):
    """(metrics, Results) of the attack on one version that MR aggregates; CompLeakError where it is not there or
    not of the answers that are there now."""
    setting, attack = AGGREGATED[knows]
    expected = (sr if setting == "SR" else nr).expected(run, version, context, shadow_num)
    results = Results(run, version, setting)
    values = results.current(expected)
    if values is None or attack not in values["attacks"]:
        what = "is missing" if not results.path.exists() else f"has no {attack} of the answers that are there now"
        raise CompLeakError(f"{results.path} {what}: run {hints.attacks(run.layout, 'SR', [version])}")
    return values["attacks"][attack], results


def made_from(run, versions, knows, context, shadow_num=None):
    """What an MR attack's result depends on."""
    found = {"versions": [str(version) for version in versions],
             "answers": {str(version): identities(run, version, shadow_num).answers for version in versions},
             "aggregated": {str(version): aggregated(run, version, knows, context, shadow_num)[0]["digest"]
                            for version in versions}}
    if "int8_shadow" in context.choices:
        found["int8"] = identities(run, INT8, shadow_num).answers[1:]
    return found


def expected(run, context, groups, shadow_num=None):
    """{attack: everything that its result would be made from now}, of those groups that can be attacked now."""
    found = {}
    for group, versions in groups.items():
        for knows in AGGREGATED:
            name = f"{group}, {knows}"
            try:
                found[name] = attack_of(name).inputs(made_from(run, versions, knows, context, shadow_num), context)
            except CompLeakError:
                continue
    return found


def attack_groups(run, context, groups=None, shadow_num=None):
    """MR for each group of versions, with and without the original; finished ones stay. Gives the values of MR.json.

    groups: {name: [Version]}, default `run_groups`. Raises CompLeakError, naming the command, where SR has not been run
    for a version or was run on other answers.
    """
    groups = groups or run_groups(run)
    losses = _losses(run, [version for versions in groups.values() for version in versions], shadow_num)
    target, shadow_member = losses["target"], losses["shadow_member"]
    replaced = read_version(run, INT8, shadow_num).stacked("losses") if "int8_shadow" in context.choices else None
    jobs = {}
    for group, versions in tqdm(groups.items(), desc="MR's inputs"):
        for knows in AGGREGATED:
            name = f"{group}, {knows}"
            scored = []
            for version in versions:
                _, results = aggregated(run, version, knows, context, shadow_num)
                attack = AGGREGATED[knows][1]
                scored.append(results.scored([attack])[2][attack])
            on_shadow = [losses[version][1] if replaced is None else replaced for version in versions]
            seen = Group(name, np.stack([losses[version][0] for version in versions], axis=1),
                         np.stack(on_shadow, axis=1), tuple(scored), target.member, shadow_member)
            jobs[name] = attack_of(name), made_from(run, versions, knows, context, shadow_num), seen
    with locked(run.layout.result(ORIGINAL, "MR.json")):
        results = Results(run, ORIGINAL, "MR")
        others = {name: versions for name, versions in saved_groups(results).items() if name not in groups}
        named = {name: [str(version) for version in versions] for name, versions in {**others, **groups}.items()}
        return results.complete(jobs, target, context, keep=expected(run, context, others, shadow_num),
                                also={"groups": named, "shadows": losses["shadows"]})


def saved_groups(results):
    """{name: [Version]} of the groups in MR.json."""
    groups = (results.saved() or {"groups": {}})["groups"]
    return {name: [Version.named(member) for member in members] for name, members in groups.items()}


def _losses(run, versions, shadow_num):
    """{Version: (the target's losses [m], the shadows' [Σm])}, and of the last "target", "shadow_member", "shadows".

    One version is held at a time: with many shadows all of them would not fit into memory.
    """
    found = {}
    for version in dict.fromkeys(versions):
        attacked = read_version(run, version, shadow_num)
        need_shadows(run, attacked.shadows, "MR")
        found[version] = attacked.target.losses, attacked.stacked("losses")
        found |= {"target": attacked.target, "shadow_member": attacked.stacked("member"),
                  "shadows": len(attacked.shadows)}
    return found


def main(argv=None):
    args = parser(__doc__).parse_args(argv)
    run = open_run(args)
    result = attack_groups(run, attack_context(args, run), shadow_num=args.shadow_num)
    say_at_chance(run, run.versions())
    report("CompLeakMR", result["attacks"], run)


if __name__ == "__main__":
    run_command(main)
