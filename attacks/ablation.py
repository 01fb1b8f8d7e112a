"""What the released protocol is worth: each of its choices switched on alone, and the differences it makes.

Choices that change queries or attacks reuse a run's models: the run is copied to <run>/ablation/<choice>/ with links to
its weights, its members are queried anew where the choice asks for it, and the attacks run as they always do. Choices
that change the models are compared with runs of their own (train.py --protocol …), named with --retrained.
"""
import os
import shutil
from dataclasses import replace
from pathlib import Path

import CompLeakNR
import CompLeakSR
from attacks import multi
from attacks.cli import open_run
from attacks.differences import TOGETHER, measure, table
from attacks.results import FORMAT
from attacks.saved import read_current
from attacks.writing import screen, write
from data import images, splits
from models import protocol
from models.checkpoint import ORIGINAL, atomic, load_model, read_json, read_weights, write_json
from models.cli import choose_device, parser, run
from models.errors import CompLeakError, UsageError
from models.query import augmented, load_queries, losses, query, save_arrays
from models.run_settings import load_split, read_run

ALONE = (*protocol.QUERIES, *protocol.ATTACKS)
AUGMENTED, INTERPOLATED = "augmented_members", "interpolated_tpr"


def derive(layout, variants, choices):
    """The Layout of a copy of the run under other choices: links to what they leave as it is.

    Where members are augmented among other choices, that is what the copy with augmented members alone holds.
    """
    copy = _copy(layout, TOGETHER if len(choices) > 1 else "".join(choices))
    split = read_json(layout.result(ORIGINAL, "split.json"), layout.command(ORIGINAL))
    run_settings = {**split["run"], "protocol": protocol.name("+".join(choices))}
    write_json(copy.result(ORIGINAL, "split.json"), {**split, "run": run_settings})
    queried = choices & {AUGMENTED}
    source = _copy(layout, AUGMENTED) if queried else layout
    for variant in variants:
        for world in load_split(layout).worlds:
            for file in ("weights.pt", "config.json"):
                link(layout.file(variant, world.name, file), copy.file(variant, world.name, file))
            for file in ("queries.npz", "sensitivity.npz"):
                link(source.file(variant, world.name, file), copy.file(variant, world.name, file))
        for setting in ("NR", "SR"):
            if protocol.record(choices, setting) == protocol.record(queried, setting):
                for file in (f"{setting}.json", f"{setting}_scores.npz"):
                    link(source.result(variant, file), copy.result(variant, file))
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


def requery(layout, copy, variants, data, device):
    """queries.npz of every model of the copy, its members shown cropped and flipped; its other answers stay."""
    seed = read_run(layout)["seed"]
    for variant in variants:
        for world in load_split(layout).worlds:
            old = load_queries(layout.file(variant, world.name, "queries.npz"), layout.command(variant))
            meta = {**old.meta, AUGMENTED: True}
            path = copy.file(variant, world.name, "queries.npz")
            if path.exists() and load_queries(path, "the command again").meta == meta:
                continue
            saved = read_weights(copy.file(variant, world.name, "weights.pt"), layout.command(variant))
            shown = augmented(data.images, world.members, splits.derive_seed(seed, str(variant), world.name, "crops"))
            logits = old.logits.copy()
            logits[old.member] = query(load_model(saved, device), shown, data.statistics, old.index[old.member],
                                       device, f"{variant} {world.name}, members augmented")
            save_arrays(path, meta, logits=logits, losses=losses(logits, old.labels), labels=old.labels,
                        index=old.index, member=old.member)


def attack(layout, variants, args):
    """NR on the original, SR on each variant, MR on each group that they fill; finished results stay.

    So does an MR of the run that holds these groups among others: --variants must not make it smaller.
    """
    run_settings = read_run(layout)
    CompLeakNR.attack_variant(layout, ORIGINAL, args, run_settings)
    for variant in variants:
        CompLeakSR.attack_variant(layout, variant, args, run_settings)
    groups = {name: members for name, members in multi.GROUPS.items() if set(members) <= set(variants)}
    saved = read_current(layout, ORIGINAL, "MR.json", "the command again") or {"inputs": {"groups": {}}}
    known = saved["inputs"]["groups"]
    more = len(known) > len(groups) and all(known.get(name) == list(map(str, groups[name])) for name in groups)
    if groups and not more:
        multi.attack_groups(layout, run_settings["seed"], choose_device(args.device), groups, args.shadow_num,
                            protocol.parse(run_settings["protocol"]))


def load_data(layout, args):
    """The run's pictures; CompLeakError where --data_dir holds others."""
    data = images.load(args.dataset_name, args.data_dir, args.data_label, read_run(layout)["image_size"])
    if data.fingerprint != load_split(layout).data_fingerprint:
        raise CompLeakError(f"{data.label} is not the data of the run in {layout.root()}: name the same --data_dir")
    return data


def switch_on(layout, choice, variants, args):
    """Rows of differences that one choice, or all of them together, makes in a sound run."""
    choices = frozenset(args.choices) - {TOGETHER} if choice == TOGETHER else frozenset({choice})
    others = choices - {INTERPOLATED}  # which reads the same scores another way
    copy, models = layout, [ORIGINAL, *variants]
    if others:
        copy = derive(layout, models, others)
        if AUGMENTED in others:
            requery(layout, copy, models, load_data(layout, args), choose_device(args.device))
        attack(copy, variants, args)
    return measure(layout, copy, choice, variants, INTERPOLATED in choices)


def compare_retrained(layout, other, variants, args):
    """Rows of a run whose models were trained under another protocol; its attacks are run where they are missing."""
    if load_split(other).fingerprint != load_split(layout).fingerprint:
        raise UsageError(f"--retrained {other.run_dir}: its split is another one; train it with the same data, --seed "
                         "and --train_size")
    name, trained = read_run(other)["protocol"], [variant for variant in variants if variant in other.variants()]
    attack(other, trained, args)
    return measure(layout, other, name, trained, INTERPOLATED in protocol.parse(name))


def chosen_variants(layout, names):
    """The compressed variants that are trained, or those of them that --variants names; UsageError for others."""
    trained = [variant for variant in layout.variants() if variant != ORIGINAL]
    unknown = sorted(set(names or ()) - set(map(str, trained)))
    if unknown:
        raise UsageError(f"--variants {unknown[0]}: the run has {', '.join(map(str, trained)) or 'none'}")
    return [variant for variant in trained if names is None or str(variant) in names]


def arguments(argv):
    p = parser(__doc__.splitlines()[0])
    p.add_argument("--data_dir", default=None, help="the run's folder of pictures, as given to train.py")
    p.add_argument("--data_label", default=None, help="name of an imagefolder set, as given to train.py")
    p.add_argument("--choices", nargs="+", choices=[*ALONE, TOGETHER], default=[*ALONE, TOGETHER],
                   help="choices to switch on, each alone; together: all the others named, at once")
    p.add_argument("--variants", nargs="+", default=None,
                   help="compressed models, such as pruning_0.6 quantization_int8 (default: all that are trained)")
    p.add_argument("--retrained", nargs="*", default=[],
                   help="run folders of the same data and seed, trained with train.py --protocol …, to compare too")
    p.set_defaults(rmia_a=0.5)
    return p.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    layout, settings, split = open_run(args)
    if settings["protocol"] != protocol.SOUND:
        raise UsageError(f"--run_dir {args.run_dir}: its protocol is {settings['protocol']}; name a sound run")
    variants = chosen_variants(layout, args.variants)
    attack(layout, variants, args)
    rows = [row for choice in args.choices for row in switch_on(layout, choice, variants, args)]
    for folder in args.retrained:
        rows += compare_retrained(layout, replace(layout, run_dir=Path(folder)), variants, args)
    write_json(layout.result(ORIGINAL, "ablation.json"),
               {"format": FORMAT, "data": settings["data_label"], "seed": split.seed, "rows": rows})
    made = table(layout)
    write(made, layout.tables)
    print("\n" + screen(made, list(made.blocks)))


if __name__ == "__main__":
    run(main)
