"""What the released protocol is worth: each of its choices switched on alone, and the differences it makes.

Choices that change queries or attacks reuse a run's models: the run is copied to <run>/ablation/<choice>/ with links to
its weights, its members are queried anew where the choice asks for it, and the attacks run as they always do. Choices
that change the models are compared with runs of their own (train.py --protocol …), named with --retrained.
"""
import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

import CompLeakNR
import CompLeakSR
from attacks import mr
from attacks.arguments import open_run
from attacks.saved import read_current
from common.command import run
from common.device import choose_device
from common.errors import CompLeakError, UsageError
from common.files import atomic, read_json, save_arrays, write_json
from common.paths import ORIGINAL
from data import sets, splits
from evaluation import runs
from evaluation.differences import FORMAT, TOGETHER, measure, table
from evaluation.writing import screen, write
from models import protocol
from models.arguments import parser
from models.queries import augmented, load_queries, losses, query
from models.run import load_split, read_run
from models.weights import load_model, read_weights

ALONE = (*protocol.QUERIES, *protocol.ATTACKS)
AUGMENTED, INTERPOLATED = "augmented_members", "interpolated_tpr"


def derive(layout, versions, choices):
    """The Layout of a copy of the run under other choices, or under none: links to what they leave as it is.

    Where members are augmented among other choices, that is what the copy with augmented members alone holds.
    """
    copy = _copy(layout, TOGETHER if len(choices) > 1 else "".join(choices) or "subset")
    split = read_json(layout.result(ORIGINAL, "split.json"), layout.command(ORIGINAL))
    changed = {"protocol": protocol.name("+".join(choices))} if choices else {}
    write_json(copy.result(ORIGINAL, "split.json"), {**split, "run": {**split["run"], **changed}})
    queried = choices & {AUGMENTED}
    source = _copy(layout, AUGMENTED) if queried else layout
    for version in versions:
        for world in load_split(layout).worlds:
            for file in ("weights.pt", "config.json"):
                link(layout.file(version, world.name, file), copy.file(version, world.name, file))
            for file in ("queries.npz", "sensitivity.npz"):
                link(source.file(version, world.name, file), copy.file(version, world.name, file))
        for setting in ("NR", "SR"):
            if protocol.record(choices, setting) == protocol.record(queried, setting):
                for file in (f"{setting}.json", f"{setting}_scores.npz"):
                    link(source.result(version, file), copy.result(version, file))
    return copy


def _copy(layout, name):
    return replace(layout, run_dir=Path(layout.run_dir) / "ablation" / name)


def link(source, target):
    """Make `target` the same file as `source`, or a copy where links are not possible; nothing without a source."""
    if not source.exists() or (target.exists() and target.samefile(source)):
        return
    with atomic(target) as beside:
        try:
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)


def requery(layout, copy, versions, data, device):
    """queries.npz of every model of the copy, its members shown cropped and flipped; its other answers stay."""
    seed = read_run(layout)["seed"]
    for version in versions:
        for world in load_split(layout).worlds:
            old = load_queries(layout.file(version, world.name, "queries.npz"), layout.command(version))
            meta = {**old.meta, AUGMENTED: True}
            path = copy.file(version, world.name, "queries.npz")
            if path.exists() and load_queries(path, "the command again").meta == meta:
                continue
            saved = read_weights(copy.file(version, world.name, "weights.pt"), layout.command(version))
            shown = augmented(data.images, world.members, splits.derive_seed(seed, str(version), world.name, "crops"))
            logits = old.logits.copy()
            logits[old.member] = query(load_model(saved, device), shown, data.statistics, old.index[old.member],
                                       device, f"{version} {world.name}, members augmented")
            save_arrays(path, meta, logits=logits, losses=losses(logits, old.labels), labels=old.labels,
                        index=old.index, member=old.member)


def attack(layout, versions, args):
    """NR on the original, SR on each version, MR on each group that they fill, or on all; finished results stay."""
    run_settings = read_run(layout)
    CompLeakNR.attack_version(layout, ORIGINAL, args, run_settings)
    for version in versions:
        CompLeakSR.attack_version(layout, version, args, run_settings)
    groups = _groups(versions)
    if groups and not (_others(layout, groups) and _holds(layout, groups)):
        mr.attack_groups(layout, run_settings["seed"], choose_device(args.device), groups, args.shadow_num,
                            protocol.parse(run_settings["protocol"]))


def attack_subset(layout, versions, args):
    """The Layout of a run's results on these versions: itself, or a copy where it would lose groups of its MR."""
    groups = _groups(versions)
    if groups and _others(layout, groups) and not _holds(layout, groups):
        layout = derive(layout, [ORIGINAL, *versions], frozenset())
    attack(layout, versions, args)
    return layout


def _groups(versions):
    """{name: [Version]} of the paper's groups that these versions fill, else of all of them where there are several."""
    groups = {name: members for name, members in mr.GROUPS.items() if set(members) <= set(versions)}
    return groups or ({f"all {len(versions)}": versions} if len(versions) > 1 else {})


def _known_groups(layout):
    saved = read_current(layout, ORIGINAL, "MR.json", "the command again")
    return saved["inputs"]["groups"] if saved else {}


def _holds(layout, groups):
    known = _known_groups(layout)
    return all(known.get(name) == list(map(str, members)) for name, members in groups.items())


def _others(layout, groups):
    """The groups of a run's MR beyond these: attacking these alone would lose them."""
    return _known_groups(layout).keys() - groups.keys()


def load_data(layout, args):
    """The run's pictures; CompLeakError where --data_dir holds others."""
    data = sets.load(args.dataset_name, args.data_dir, args.data_label, read_run(layout)["image_size"],
                     run_dir=layout.run_dir)
    if data.fingerprint != load_split(layout).data_fingerprint:
        raise CompLeakError(f"{data.label} is not the data of the run in {layout.root()}: name the same --data_dir")
    return data


def switch_on(layout, choice, versions, args):
    """The Layout that holds a sound run's results under one choice, or under all of them together.

    None where they are the sound ones: interpolated_tpr reads the same scores another way.
    """
    choices = _choices(choice, args) - {INTERPOLATED}
    if not choices:
        return None
    models = [ORIGINAL, *versions]
    copy = derive(layout, models, choices)
    if AUGMENTED in choices:
        requery(layout, copy, models, load_data(layout, args), choose_device(args.device))
    attack(copy, versions, args)
    return copy


def _choices(choice, args):
    return frozenset(args.choices) - {TOGETHER} if choice == TOGETHER else frozenset({choice})


def compare_retrained(name, pairs, versions, args):
    """Rows of runs whose models were trained under another protocol; their attacks are run where they are missing."""
    trained = [version for version in versions if all(version in other.versions() for _, other in pairs)]
    pairs = [tuple(attack_subset(run, trained, args) for run in pair) for pair in pairs]
    return measure(pairs, _seeds(pairs), name, trained, INTERPOLATED in protocol.parse(name))


def _seeds(pairs):
    return [read_run(layout)["seed"] for layout, _ in pairs]


def chosen_versions(layout, names):
    """The compressed versions that are trained, or those of them that --versions names; UsageError for others."""
    trained = [version for version in layout.versions() if version != ORIGINAL]
    unknown = sorted(set(names or ()) - set(map(str, trained)))
    if unknown:
        raise UsageError(f"--versions {unknown[0]}: the run in {layout.run_dir} has "
                         f"{', '.join(map(str, trained)) or 'none'}")
    return [version for version in trained if names is None or str(version) in names]


def arguments(argv):
    p = parser(__doc__.splitlines()[0], several_runs=True)
    p.add_argument("--data_dir", default=None, help="the runs' folder of pictures, as given to train.py")
    p.add_argument("--data_label", default=None, help="name of an imagefolder set, as given to train.py")
    p.add_argument("--choices", nargs="*", choices=[*ALONE, TOGETHER], default=[*ALONE, TOGETHER],
                   help="choices to switch on, each alone; together: all the others named, at once")
    p.add_argument("--versions", nargs="+", default=None,
                   help="compressed models, such as pruning_0.6 quantization_int8 (default: all that are trained)")
    p.add_argument("--retrained", nargs="*", default=[],
                   help="run folders of the same data and seeds, trained with train.py --protocol …, to compare too")
    p.set_defaults(rmia_a=0.5)
    return p.parse_args(argv)


def open_sound(args):
    """Layouts of the --run_dir folders; UsageError for a run that is not sound."""
    layouts = []
    for folder in args.run_dir:
        layout, settings, _ = open_run(argparse.Namespace(**{**vars(args), "run_dir": folder}))
        if settings["protocol"] != protocol.SOUND:
            raise UsageError(f"--run_dir {folder}: its protocol is {settings['protocol']}; name a sound run")
        layouts.append(layout)
    return layouts


def main(argv=None):
    args = arguments(argv)
    layouts = open_sound(args)
    retrained = runs.pair_retrained(layouts, args.retrained)
    if not (args.choices or retrained):
        raise UsageError(f"--choices needs one of {', '.join([*ALONE, TOGETHER])}, or --retrained a run folder")
    versions = chosen_versions(layouts[0], args.versions)
    for layout in layouts[1:]:
        chosen_versions(layout, map(str, versions))
    sound = [attack_subset(layout, versions, args) for layout in layouts]
    if len(layouts) > 1:
        runs.check_together([runs.read(layout) for layout in layouts])
    rows = []
    for choice in args.choices:
        pairs = [(before, switch_on(layout, choice, versions, args) or before)
                 for before, layout in zip(sound, layouts, strict=True)]
        rows += measure(pairs, _seeds(pairs), choice, versions, INTERPOLATED in _choices(choice, args))
    for name, pairs in retrained.items():
        rows += compare_retrained(name, pairs, versions, args)
    first = layouts[0]
    write_json(first.result(ORIGINAL, "ablation.json"),
               {"format": FORMAT, "data": read_run(first)["data_label"], "rows": rows})
    made = table(first)
    write(made, first.tables)
    print("\n" + screen(made, list(made.blocks)))


if __name__ == "__main__":
    run(main)
