"""Multiple references: several compressed versions together. `python -m attacks.mr` is the notebook without it."""
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from attacks import learned, nr, sr, train_based, twice
from attacks.arguments import attack_context, open_run
from attacks.attack import Attack
from attacks.calibrated import WITH, WITHOUT, mr_sets
from attacks.games import signals_of
from attacks.inputs import identities, need_shadows, read_version
from attacks.mr_network import Group, losses_of, network_attack
from attacks.results import Results, report
from common.command import run as run_command
from common.errors import CompLeakError
from common.files import locked
from common.paths import ORIGINAL, Version
from models import crops, hints
from models.arguments import parser
from models.compression import TECHNIQUES, is_control, paper_versions
from models.protocol import INT8
from models.record import say_at_chance

# {what the attacker knows: (setting, attack) that gives each version's member probability}
AGGREGATED = {WITH: ("SR", sr.AGGREGATED), WITHOUT: ("NR", train_based.AGGREGATED)}
# Control: every column is the original's, so what is left is what the network and SR's features do for one model.
REPEATED = "original repeated"
COLUMNS = {**AGGREGATED, REPEATED: ("NR", twice.AGGREGATED)}
# {row: (learned attack, what the attacker knows)}; a result is called "<group>, <row>", a row being one of these or of
# COLUMNS, and no row has a comma.
LEARNED = {f"{name} {knows}": (name, knows) for name in learned.KNOWLEDGE for knows in AGGREGATED}
ROWS = (*COLUMNS, *LEARNED)
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def paper_groups():
    """{name: [Version]} of the paper: the pruned four, the clustered three, the pruned with int8, all eight."""
    versions = paper_versions()[1:]
    found = {}
    for technique in TECHNIQUES.values():
        members = [version for version in versions if version.technique == technique.name]
        if len(members) > 1:  # quantisation has one degree
            found[f"{technique.adjective} {NUMBERS[len(members)]}"] = members
    pruned = [version for version in versions if version.technique == "pruning"]
    return {**found, "pruned + int8": [*pruned, INT8], f"all {NUMBERS[len(versions)]}": versions}


def groups_of(versions):
    """{name: [Version]} of some compressed versions: the paper's groups that they fill, and all of them together."""
    found = {name: members for name, members in paper_groups().items() if set(members) <= set(versions)}
    if len(versions) > 1 and not any(set(members) == set(versions) for members in found.values()):
        found[f"all {len(versions)}"] = list(versions)
    return found


def control_groups(groups, versions):
    """{name: [Version]} of the controls among some versions: as many as each group has, and all of them."""
    controls = [version for version in versions if is_control(version)]
    sizes = sorted({len(controls), *map(len, groups.values())})
    return {f"fine-tuned {NUMBERS[size] if size < len(NUMBERS) else size}": controls[:size]
            for size in sizes if 1 <= size <= len(controls)}


def run_groups(run):
    """The groups that the versions of a run fill, and those of its controls; CompLeakError where there are not two.

    Says which of the paper's groups it lacks.
    """
    versions = [version for version in run.versions() if version != ORIGINAL]
    present = [version for version in versions if not is_control(version)]
    if len(present) < 2:
        raise CompLeakError(f"MR combines two or more compressed models, and {run.layout.root()} knows {len(present)}")
    lacking = [] if run.layout.is_own else [version for version in paper_versions()[1:] if version not in present]
    if lacking:
        names = [name for name, members in paper_groups().items() if set(members) & set(lacking)]
        print(f"without {', '.join(names)}: {', '.join(map(str, lacking))} not trained, run "
              f"{'; '.join(hints.training(run.layout, version) for version in lacking)}")
    groups = groups_of(present)
    return {**groups, **control_groups(groups, versions)}


class Seen(NamedTuple):
    """What a learned attack sees of a group: its versions, {version: `games.Signals`}, and the shadows' rows."""

    group: str
    versions: list
    signals: dict
    rows: learned.Rows


def attack_of(name):
    """The Attack on one group: a result's name is that of its group and of its row."""
    row, short = name.rsplit(", ", 1)[1], name.removesuffix(" the original")
    if row not in LEARNED:
        choices = ("best_attack_epoch", "in_sample_forests", "plain_inputs", "int8_shadow")
        return Attack(name, network_attack, short=short, choices=choices[:3] if row == REPEATED else choices)
    method, knows = LEARNED[row]

    def run(seen, context):
        def select(phi, *reference):
            return mr_sets(phi, ORIGINAL, {seen.group: seen.versions}, *reference)[f"{seen.group}, {knows}"]

        return learned.run_learned(method, seen.signals, select, seen.rows, context)

    return Attack(name, run, knowledge=learned.KNOWLEDGE[method], short=short)


def columns_of(versions, row):
    """Whose scores and losses MR's network joins: the versions', or the original's as often."""
    return [ORIGINAL] * len(versions) if row == REPEATED else versions


def aggregated(run, version, knows, context, shadow_num=None):
    """(metrics, Results) of the attack on one version that MR aggregates; CompLeakError where it is not there or
    not of the answers that are there now."""
    setting, attack = COLUMNS[knows]
    expected = (sr if setting == "SR" else nr).expected(run, version, context, shadow_num)
    results = Results(run, version, setting)
    values = results.current(expected)
    if values is None or attack not in values["attacks"]:
        what = "is missing" if not results.path.exists() else f"has no {attack} of the answers that are there now"
        made_by = "NR" if version == ORIGINAL else "SR"
        raise CompLeakError(f"{results.path} {what}: run {hints.attacks(run.layout, made_by, [version])}")
    return values["attacks"][attack], results


def made_from(run, versions, row, context, shadow_num=None):
    """What an MR attack's result depends on."""
    read = columns_of(versions, row)
    if row in LEARNED and LEARNED[row][1] == WITH:
        read = [ORIGINAL, *versions]
    found = {"versions": [str(version) for version in columns_of(versions, row)],
             "answers": {str(version): identities(run, version, shadow_num).answers for version in read}}
    if row in COLUMNS:
        found["aggregated"] = {str(version): aggregated(run, version, row, context, shadow_num)[0]["digest"]
                               for version in dict.fromkeys(read)}
    if row in AGGREGATED and "int8_shadow" in context.choices:
        found["int8"] = identities(run, INT8, shadow_num).answers[1:]
    return found


def expected(run, context, groups, shadow_num=None):
    """{attack: everything that its result would be made from now}, of those groups that can be attacked now."""
    found = {}
    for group, versions in groups.items():
        for row in ROWS:
            name = f"{group}, {row}"
            try:
                found[name] = attack_of(name).inputs(made_from(run, versions, row, context, shadow_num), context)
            except CompLeakError:
                continue
    return found


def attack_groups(run, context, groups=None, shadow_num=None, rows=ROWS):
    """MR for each group of versions, with and without the original; finished ones stay. Gives the values of MR.json.

    groups: {name: [Version]}, default `run_groups`; rows: those to run, of the others what holds is kept. Raises
    CompLeakError, naming the command, where SR has not been run for a version or was run on other answers. Of NR, the
    control that repeats the original is made from is run here.
    """
    groups = groups or run_groups(run)
    read = _read(run, [version for versions in groups.values() for version in versions], context.seed, shadow_num)
    for version in [version for version in read.signals if version != ORIGINAL]:
        for row in AGGREGATED:  # what is missing is said before anything is run
            aggregated(run, version, row, context, shadow_num)
    if REPEATED in rows:
        nr.attack_version(run, ORIGINAL, context, [twice.AGGREGATED], shadow_num, wait=3600)
    replaced, jobs = _replaced(run, groups, context, shadow_num), {}
    for group, versions in tqdm(groups.items(), desc="MR's inputs"):
        for row in [row for row in rows if row in COLUMNS or LEARNED[row][0] in read.possible]:
            name = f"{group}, {row}"
            seen = Seen(group, versions, read.signals, read.rows) if row in LEARNED else _group(
                run, name, versions, row, read, replaced, context, shadow_num)
            jobs[name] = attack_of(name), made_from(run, versions, row, context, shadow_num), seen
    with locked(run.layout.result(ORIGINAL, "MR.json")):
        results = Results(run, ORIGINAL, "MR")
        others = {name: versions for name, versions in saved_groups(results).items() if name not in groups}
        named = {name: [str(version) for version in versions] for name, versions in {**others, **groups}.items()}
        return results.complete(jobs, read.target, context,
                                keep=expected(run, context, {**others, **groups}, shadow_num),
                                also={"groups": named, "shadows": read.shadows}, shadow_member=read.rows.member)


def _group(run, name, versions, row, read, replaced, context, shadow_num):
    """The Group of one row; replaced: as `_replaced`."""
    columns, attack, scored = columns_of(versions, row), COLUMNS[row][1], {}
    for version in dict.fromkeys(columns):
        scored[version] = aggregated(run, version, row, context, shadow_num)[1].scored([attack])[2][attack]
    losses = [np.stack([read.losses[version][side] for version in columns], axis=1) for side in (0, 1)]
    if replaced is not None and row != REPEATED:
        losses[1] = replaced[:, :len(columns)]
    return Group(name, *losses, tuple(scored[version] for version in columns), read.target.member, read.rows.member,
                 read.rows.groups, candidate=row != REPEATED)


def _replaced(run, groups, context, shadow_num):
    """The int8 shadows' losses [Σm, k] for the largest group's k columns where the protocol takes them, else None."""
    if "int8_shadow" not in context.choices:
        return None
    k, shadows = max(map(len, groups.values())), read_version(run, INT8, shadow_num).shadows
    for shadow in [one for one in shadows if one.crops and len(one.crops.losses) < k]:
        raise run.stale(run.layout.file(INT8, shadow.queries.meta["world"], crops.FILE), INT8,
                        f"has {len(shadow.crops.losses)} draws of losses, MR needs {k}")
    return losses_of(shadows, k)


def saved_groups(results):
    """{name: [Version]} of the groups in MR.json."""
    groups = (results.saved() or {"groups": {}})["groups"]
    return {name: [Version.named(member) for member in members] for name, members in groups.items()}


class Read(NamedTuple):
    """What MR takes from answers: {version: `games.Signals`}, {version: its losses, [target's, shadows']}, the
    target's Answers, the shadows' rows and number, and the learned attacks that every version's answers allow."""

    signals: dict
    losses: dict
    target: object
    rows: learned.Rows
    shadows: int
    possible: set


def _read(run, versions, seed, shadow_num):
    """The Read of the original and of some versions; seed int of the references that are drawn. One version is held at
    a time: with many shadows all of them would not fit into memory."""
    signals, losses, possible = {}, {}, set(learned.KNOWLEDGE)
    for version in dict.fromkeys([ORIGINAL, *versions]):
        attacked = read_version(run, version, shadow_num)
        need_shadows(run, attacked.shadows, "MR")
        signals[version] = signals_of(attacked, seed)
        losses[version] = [losses_of(models, 1)[:, 0] for models in ([attacked.target], attacked.shadows)]
        possible &= set(learned.possible(attacked))
    return Read(signals, losses, attacked.target, learned.rows_of(attacked), len(attacked.shadows), possible)


def main(argv=None):
    args = parser(__doc__).parse_args(argv)
    run = open_run(args)
    result = attack_groups(run, attack_context(args, run), shadow_num=args.shadow_num)
    say_at_chance(run, run.versions())
    report("CompLeakMR", result["attacks"], run)


if __name__ == "__main__":
    run_command(main)
