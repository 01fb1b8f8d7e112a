"""What the released protocol is worth: each of its choices switched on alone, and the differences it makes.

Choices that change queries or attacks reuse a run's models: the run is copied to <run>/ablation/<choice>/ with links to
its weights, its models are asked anew where the choice asks for it, and the attacks run as they always do. Choices that
change the models are compared with runs of their own (train.py --protocol …), named with --retrained.
"""
import os
import shutil
from argparse import ArgumentTypeError
from dataclasses import dataclass, replace
from pathlib import Path

from attacks import equals, mr, nr, sr, train_based
from attacks.arguments import attack_context, open_run
from attacks.attack import Context
from attacks.groups import groups_of
from attacks.inputs import identities
from common.command import run as run_command
from common.errors import UsageError
from common.files import atomic, write_json
from common.paths import ORIGINAL
from data.names import shown
from data.splits import to_json
from evaluation import evidence
from evaluation.differences import FORMAT, TOGETHER, measure, table
from evaluation.writing import screen, write
from models import protocol
from models.answering import Asking, answer
from models.arguments import parser
from models.run import Run
from models.stage import load_data
from models.weights import read_weights, weights_file

PAPER_NR = [name for name in nr.ATTACKS if name not in {*equals.NAMES, *(one.name for one in train_based.TWICE)}]
PAPER_SR = [name for name in sr.ATTACKS if name.startswith("SR")]
ALONE = (*protocol.QUERIES, *protocol.ATTACKS)
INTERPOLATED = "interpolated_tpr"


@dataclass(frozen=True)
class Ablation:
    """What is compared: choices by name, compressed versions, and what attacks and queries need."""

    choices: tuple
    versions: tuple
    context: Context
    shadow_num: int | None
    data_dir: str | None
    data_label: str | None


def derive(run, versions, choices, name):
    """The Run of a named copy under other choices: links to all that may still hold; what does not is made again."""
    copy = Run(replace(run.layout, run_dir=Path(run.layout.run_dir) / "ablation" / name))
    settings = replace(run.settings, protocol=protocol.name("+".join(choices)))
    write_json(copy.path, {"run": settings.as_json(), **to_json(run.split)})
    for version in versions:
        for world in run.split.worlds:
            weights = weights_file(run.layout, version, world.name).name
            for file in (weights, "config.json", "queries.npz", "sensitivity.npz"):
                link(run.layout.file(version, world.name, file), copy.layout.file(version, world.name, file))
        for file in ("NR.json", "NR_scores.npz", "SR.json", "SR_scores.npz"):
            link(run.layout.result(version, file), copy.layout.result(version, file))
    return copy


def link(source, target):
    """Make `target` the same file as `source`, or a copy where links are not possible; what is there stays."""
    if not source.exists() or target.exists():
        return
    with atomic(target) as beside:
        try:
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)


def ask_anew(run, copy, versions, ablation):
    """The copy's models asked as its protocol says, sensitivities too where the run has them."""
    for version in versions:
        for world in run.split.worlds:
            sensitivity = run.layout.file(version, world.name, "sensitivity.npz").exists()
            asking = Asking(copy.layout, copy.settings, copy.split,
                            lambda: load_data(run, ablation.data_dir, ablation.data_label), ablation.context.device,
                            run.queries(version, world.name).meta["rows"], sensitivity)
            with copy.mending(version):
                answer(asking, version, world, read_weights(weights_file(copy.layout, version, world.name)))


def attack(run, versions, ablation):
    """NR on the original, SR on each version, MR on each group that they fill: the paper's attacks, whose choices these
    are; finished results stay."""
    context = replace(ablation.context, seed=run.settings.seed, choices=run.settings.choices)
    _, lines = nr.attack_version(run, ORIGINAL, context, PAPER_NR, ablation.shadow_num)
    print("".join(f"{run.layout.run_dir}: {line}\n" for line in lines), end="")
    for pair in sr.pairs(run, versions, ablation.shadow_num):
        sr.attack_version(run, pair.compressed.version, context, PAPER_SR, ablation.shadow_num, pair)
    groups = groups_of(versions)
    if groups:
        mr.attack_groups(run, context, groups, ablation.shadow_num, list(mr.AGGREGATED))
    return run


def switch_on(run, choice, ablation):
    """The Run that holds a sound run's results under one choice, under several joined by +, or under all together.

    Itself where they are the sound ones: interpolated_tpr reads the same scores another way.
    """
    choices = _choices(choice, ablation) - {INTERPOLATED}
    if not choices:
        return run
    int8 = [protocol.INT8] if "int8_shadow" in choices and groups_of(ablation.versions) else []
    versions = list(dict.fromkeys([ORIGINAL, *ablation.versions, *int8]))
    for version in int8:  # where it is missing, it is missing in the run, and made there
        identities(run, version, ablation.shadow_num)
    copy = derive(run, versions, choices, choice)
    if choices & protocol.QUERIES.keys():
        ask_anew(run, copy, versions, ablation)
    return attack(copy, ablation.versions, ablation)


def _choices(choice, ablation):
    named = [one for one in ablation.choices if one != TOGETHER] if choice == TOGETHER else [choice]
    return frozenset().union(*map(protocol.parse, named))


def compare_retrained(name, pairs, ablation):
    """Rows of runs whose models were trained under another protocol; their attacks are run where they are missing."""
    trained = [version for version in ablation.versions if all(version in other.versions() for _, other in pairs)]
    for version in [version for version in ablation.versions if version not in trained]:
        print(f"{name}: {version} is left out, which not every run of --retrained has")
    pairs = [tuple(attack(run, trained, ablation) for run in pair) for pair in pairs]
    return measure(pairs, name, trained, INTERPOLATED in protocol.parse(name))


def chosen_versions(run, names):
    """The compressed versions that are trained, or those of them that --versions names; UsageError for others."""
    trained = [version for version in run.versions() if version != ORIGINAL]
    unknown = sorted(set(names or ()) - set(map(str, trained)))
    if unknown:
        raise UsageError(f"--versions {unknown[0]}: the run in {run.layout.run_dir} has "
                         f"{', '.join(map(str, trained)) or 'none'}")
    return tuple(version for version in trained if names is None or str(version) in names)


def known_choice(text):
    """One --choices value in the protocol's order; ArgumentTypeError where models would have to be trained for it."""
    if text == TOGETHER:
        return text
    if not set(text.split("+")) <= set(ALONE):
        raise ArgumentTypeError(f"{text}: choose from {', '.join([*ALONE, TOGETHER])}, or some joined by +")
    return protocol.name(text)


def arguments(argv):
    p = parser(__doc__.splitlines()[0], several_runs=True)
    p.add_argument("--data_dir", default=None, help="the runs' folder of pictures, as given to train.py")
    p.add_argument("--data_label", type=shown, default=None, help="name of an imagefolder set, as given to train.py")
    p.add_argument("--choices", nargs="*", type=known_choice, default=[*ALONE, TOGETHER],
                   help=f"choices to switch on, each alone, of {', '.join(ALONE)}; some joined by + at once; "
                        f"{TOGETHER}: all the others named, at once")
    p.add_argument("--versions", nargs="+", default=None,
                   help="compressed models, such as pruning_0.6 quantization_int8 (default: all that are trained)")
    p.add_argument("--retrained", nargs="*", default=[],
                   help="run folders of the same data and seeds, trained with train.py --protocol …, to compare too")
    return p.parse_args(argv)


def open_sound(args):
    """The Runs in the --run_dir folders; UsageError for one that is not sound."""
    runs = [open_run(args, folder) for folder in args.run_dir]
    for run in runs:
        if run.layout.home != run.layout:
            raise UsageError(f"--run_dir {run.layout.run_dir}: name the run itself, {run.layout.home.run_dir}")
        if run.settings.protocol != protocol.SOUND:
            raise UsageError(f"--run_dir {run.layout.run_dir}: its protocol is {run.settings.protocol}; name a sound "
                             "run")
    return runs


def main(argv=None):
    args = arguments(argv)
    runs = open_sound(args)
    retrained = evidence.pair_retrained(runs, args.retrained)
    if not (args.choices or retrained):
        raise UsageError(f"--choices needs one of {', '.join([*ALONE, TOGETHER])}, or --retrained a run folder")
    versions = chosen_versions(runs[0], args.versions)
    for run in runs[1:]:
        chosen_versions(run, map(str, versions))
    ablation = Ablation(tuple(args.choices), versions, attack_context(args, runs[0]), args.shadow_num, args.data_dir,
                        args.data_label)
    sound = [attack(run, versions, ablation) for run in runs]
    if len(runs) > 1:
        evidence.check_together([evidence.read_some(run) for run in runs])
    rows = []
    for choice in args.choices:
        pairs = [(run, switch_on(run, choice, ablation)) for run in sound]
        rows += measure(pairs, choice, versions, INTERPOLATED in _choices(choice, ablation))
    for name, pairs in retrained.items():
        rows += compare_retrained(name, pairs, ablation)
    first, others = runs[0], [other for pairs in retrained.values() for _, other in pairs]
    write_json(first.layout.result(ORIGINAL, "ablation.json"),
               {"format": FORMAT, "data": first.settings.data_label, "runs": evidence.origins([*runs, *others]),
                "rows": rows})
    made = table(first)
    write(made, first.layout.tables)
    print("\n" + screen(made, list(made.blocks)))


if __name__ == "__main__":
    run_command(main)
