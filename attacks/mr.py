"""Multiple references: several compressed versions together. `python -m attacks.mr` is the notebook without it."""
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from attacks import equals, learned, nr, sr, train_based
from attacks.arguments import attack_context, open_run
from attacks.attack import FITTED, Attack
from attacks.games import signals_of
from attacks.groups import run_groups
from attacks.inputs import identities, need_shadows, read_version
from attacks.learners import Rows
from attacks.mr_network import Group, losses_of, network_attack
from attacks.results import Results, report
from attacks.views import identities_of_views, read_views
from common.command import run as run_command
from common.errors import CompLeakError
from common.files import locked
from common.paths import ORIGINAL, Version
from models import crops, hints
from models.arguments import parser
from models.compression import is_control
from models.protocol import INT8
from models.record import say_at_chance

WITH, WITHOUT = "with the original", "without the original"
# {what the attacker knows: (setting, attack) that gives each version's member probability}
AGGREGATED = {WITH: ("SR", sr.AGGREGATED), WITHOUT: ("NR", train_based.AGGREGATED)}
# Control: every column is the original's, so what is left is what the network and SR's features do for one model.
REPEATED = "original repeated"
COLUMNS = {**AGGREGATED, REPEATED: ("NR", train_based.AGGREGATED_TWICE)}
# {row: (attack among equals, what the attacker knows)}; a result is called "<group>, <row>", a row being one of these
# or of COLUMNS, and no row has a comma.
EQUALS = {f"{name} {knows}": (name, knows) for name in equals.KNOWLEDGE for knows in AGGREGATED}
ROWS = (*COLUMNS, *EQUALS)
# Control, where views.npz is there: the original and as many fixed views of it as the group has versions.
ON_VIEWS = {f"{name} on views": name for name in equals.KNOWLEDGE}


class Seen(NamedTuple):
    """What an attack among equals sees: the `games.Signals` of its versions or views, and the shadows' rows."""

    signals: list
    rows: Rows


def attack_of(name):
    """The Attack on one group: a result's name is that of its group and of its row."""
    row, short = name.rsplit(", ", 1)[1], name.removesuffix(" the original")
    if row in COLUMNS:
        choices = ("best_attack_epoch", "in_sample_forests", "plain_inputs", "int8_shadow")
        return Attack(name, network_attack, FITTED, short=short, choices=choices[:3] if row == REPEATED else choices)
    method = ON_VIEWS[row] if row in ON_VIEWS else EQUALS[row][0]
    return Attack(name, lambda seen, context: equals.run_attack(method, *seen, context), equals.KNOWLEDGE[method],
                  short=short, edition=learned.EDITION.get(method, 1))


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
    if row in ON_VIEWS:
        views = identities_of_views(run, shadow_num)
        if len(views) < len(versions):
            raise CompLeakError(f"views.npz holds {len(views)} views, not {len(versions)}")
        return {"versions": [str(ORIGINAL)], "answers": [identities(run, ORIGINAL, shadow_num).answers,
                                                         *views[:len(versions)]]}
    read = columns_of(versions, row)
    if row in EQUALS and EQUALS[row][1] == WITH:
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
        for row in (*ROWS, *ON_VIEWS):
            name = f"{group}, {row}"
            try:
                found[name] = attack_of(name).inputs(made_from(run, versions, row, context, shadow_num), context)
            except CompLeakError:
                continue
    return found


def attack_groups(run, context, groups=None, shadow_num=None, rows=(*ROWS, *ON_VIEWS)):
    """MR for each group of versions, with and without the original; finished ones stay. Gives the values of MR.json.

    groups: {name: [Version]}, default `run_groups`; rows: those to run, of the others what holds is kept. Raises
    CompLeakError, naming the command, where SR has not been run for a version or was run on other answers. Of NR, the
    control that repeats the original is made from is run here.
    """
    groups = groups or run_groups(run)
    read = _read(run, [version for versions in groups.values() for version in versions], context.seed, shadow_num)
    for version in [version for version in read.signals if version not in (ORIGINAL, *read.views)]:
        for row in [row for row in AGGREGATED if row in rows]:  # what is missing is said before anything is run
            aggregated(run, version, row, context, shadow_num)
    if REPEATED in rows:
        nr.attack_version(run, ORIGINAL, context, [train_based.AGGREGATED_TWICE], shadow_num, wait=3600)
    replaced, jobs = _replaced(run, groups, context, shadow_num), {}
    for line in read.lines if set(rows) & EQUALS.keys() else ():
        print(f"MR: {line}")
    for group, versions in tqdm(groups.items(), desc="MR's inputs"):
        for row in _possible(rows, group, versions, read):
            name = f"{group}, {row}"
            if row in COLUMNS:
                seen = _group(run, name, versions, row, read, replaced, context, shadow_num)
            else:
                several = read.views[:len(versions)] if row in ON_VIEWS else versions
                first = [] if row in EQUALS and EQUALS[row][1] == WITHOUT else [ORIGINAL]
                seen = Seen([read.signals[version] for version in (*first, *several)], read.rows)
            jobs[name] = attack_of(name), made_from(run, versions, row, context, shadow_num), seen
    with locked(run.layout.result(ORIGINAL, "MR.json")):
        results = Results(run, ORIGINAL, "MR")
        others = {name: versions for name, versions in saved_groups(results).items() if name not in groups}
        named = {name: [str(version) for version in versions] for name, versions in {**others, **groups}.items()}
        return results.complete(jobs, read.target, context,
                                keep=expected(run, context, {**others, **groups}, shadow_num),
                                also={"groups": named, "shadows": read.shadows}, shadow_member=read.rows.member)


def _possible(rows, group, versions, read):
    """Those of the rows that the answers allow for a group; one line is printed where it has too few views."""
    views = [] if all(map(is_control, versions)) else read.views  # a control needs none
    if 0 < len(views) < len(versions):
        print(f"{group}: every attack on views is left out: views.npz holds {len(views)} views and it has "
              f"{len(versions)} versions; train.py --views {len(versions)} asks them")
    return [row for row in rows if row in COLUMNS or (row in EQUALS and EQUALS[row][0] in read.possible) or (
        row in ON_VIEWS and ON_VIEWS[row] in read.possible and len(versions) <= len(views))]


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
    """What MR takes from answers: {version: `games.Signals`}, {version: its losses, [target's, shadows']}, the target's
    Answers, the shadows' rows and number, the attacks among equals that every version's answers allow with a line on
    what they do not, and the original's views, as versions."""

    signals: dict
    losses: dict
    target: object
    rows: Rows
    shadows: int
    possible: set
    lines: list
    views: list


def _read(run, versions, seed, shadow_num):
    """The Read of the original and of some versions; seed int of the references that are drawn. One version is held at
    a time: with many shadows all of them would not fit into memory."""
    signals, losses, possible, views = {}, {}, [], []
    for version in dict.fromkeys([ORIGINAL, *versions]):
        attacked = read_version(run, version, shadow_num)
        need_shadows(run, attacked.shadows, "MR")
        signals[version] = signals_of(attacked, seed)
        losses[version] = [losses_of(models, 1)[:, 0] for models in ([attacked.target], attacked.shadows)]
        possible.append(equals.possible(attacked))
        if version == ORIGINAL:
            views = read_views(run, attacked)
    views = {view.version: signals_of(view, seed) for view in views}
    return Read(signals | views, losses, attacked.target, learned.rows_of(attacked), len(attacked.shadows),
                *min(possible, key=lambda found: len(found[0])), list(views))


def main(argv=None):
    methods = {**dict.fromkeys(COLUMNS, "network"), **{row: name for row, (name, _) in EQUALS.items()}, **ON_VIEWS}
    p = parser(__doc__)
    names = tuple(dict.fromkeys(methods.values()))
    p.add_argument("--attacks", nargs="+", choices=names, default=names, metavar="NAME",
                   help=f"attacks to run, of {', '.join(names)} (default: all); finished ones stay")
    args = p.parse_args(argv)
    run, rows = open_run(args), [row for row, name in methods.items() if name in args.attacks]
    result = attack_groups(run, attack_context(args, run), shadow_num=args.shadow_num, rows=rows)
    say_at_chance(run, run.versions())
    report("CompLeakMR", result["attacks"], run)


if __name__ == "__main__":
    run_command(main)
