"""What a larger set of runs would cost in device hours, disk and jobs, reckoned from what one finished run measured."""
import json
from collections import defaultdict
from pathlib import Path

import yaml

from common.command import Parser, run
from common.errors import CompLeakError
from common.files import read_json
from common.paths import Version
from workflow import plan

QUERIES = ("queries.npz", "crops.npz", "sensitivity.npz")


def read_models(run_dir):
    """{version: [one dictionary a model]} from every config.json of a run: seconds, bytes on disk, device, settings.

    Seconds are those of the process that finished the model, or of its logged epochs where it had been stopped before.
    """
    found = defaultdict(list)
    for path in sorted(Path(run_dir).glob("results*/*/*/config.json")):
        config, log = read_json(path), path.with_name("log.jsonl")
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        answers = [path.with_name(name) for name in QUERIES if path.with_name(name).exists()]
        made = config["settings"]
        found[str(Version(made["technique"], made["degree"]))].append(
            {"seconds": max(config["seconds"], sum(json.loads(line)["seconds"] for line in lines)),
             "bytes": config["bytes"] + sum(file.stat().st_size for file in answers), "device": config["device"],
             "settings": made})
    return dict(found)


def read_attacks(run_dir):
    """{NR, SR, MR: seconds for the whole run}, of the stages that the workflow timed."""
    found = defaultdict(float)
    for path in sorted(Path(run_dir).glob(".workflow/[NSM]R*.seconds")):
        found[path.name[:2]] += read_json(path)["seconds"]
    return dict(found)


def jobs(config, seeds):
    """Jobs that the workflow would start for this many seeds."""
    parts, techniques = len(plan.parts(config)), len(plan.techniques(config))
    one_run = parts * (1 + techniques) + (1 + techniques) + techniques + config["multi"] + 2
    return seeds * one_run + (config["dataset"] != "digits") + config["claims"] + config["report"]


def reckon(models, attacks, shadows, seeds, trained_shadows):
    """[(stage, models, hours, bytes)]: every model as long and as large as the measured mean of its version.

    Attacks are taken to grow with the rows that they are fitted on, so with the number of shadows.
    """
    rows, worlds = [], (1 + shadows) * seeds
    for version, measured in models.items():
        mean = {key: sum(model[key] for model in measured) / len(measured) for key in ("seconds", "bytes")}
        rows.append((version, worlds, worlds * mean["seconds"] / 3600, worlds * mean["bytes"]))
    for setting, seconds in attacks.items():
        rows.append((setting, 0, seeds * seconds / 3600 * shadows / trained_shadows, 0))
    return rows


def markdown(rows, number_of_jobs):
    """The rows and their sum as a Markdown table."""
    total = ("sum", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))
    lines = ["| stage | models | device hours | disk, GB |", "| --- | --- | --- | --- |"]
    for stage, count, hours, size in [*rows, total]:
        lines.append(f"| {stage} | {count or ''} | {hours:,.1f} | {f'{size / 1e9:,.1f}' if size else ''} |")
    return "\n".join([*lines, "", f"{number_of_jobs:,} jobs"])


def describe(models):
    """One line on what was measured: device, data, members, epochs of each stage."""
    every = [model for measured in models.values() for model in measured]
    first = every[0]["settings"]
    epochs = ", ".join(f"{name} {measured[0]['settings']['epochs']}" for name, measured in models.items())
    return (f"Measured on {' and '.join(sorted({model['device'] for model in every}))}: {first['data_label']}, "
            f"{first['train_size']:,} members a model, {len(every)} models; epochs: {epochs}.")


def main(argv=None):
    p = Parser(description=__doc__)
    p.add_argument("run_dir", help="folder of the run that was measured")
    p.add_argument("--shadows", type=int, default=64, help="shadow models a seed (default: 64)")
    p.add_argument("--seeds", type=int, default=5, help="seeds (default: 5)")
    p.add_argument("--worlds_per_job", type=int, default=1, help="models that one training job makes (default: 1)")
    args = p.parse_args(argv)
    models = read_models(args.run_dir)
    if "original" not in models:
        raise CompLeakError(f"{args.run_dir} holds no finished model: name the folder of a run (its --run_dir)")
    config = yaml.safe_load(plan.DEFAULTS.read_text(encoding="utf-8"))
    config |= {"shadows": args.shadows, "worlds_per_job": args.worlds_per_job}
    attacks = read_attacks(args.run_dir)
    trained_shadows = max(1, len(models["original"]) - 1)
    print(describe(models))
    print(f"{args.shadows} shadows × {len(models)} versions × {args.seeds} seeds:\n")
    print(markdown(reckon(models, attacks, args.shadows, args.seeds, trained_shadows), jobs(config, args.seeds)))
    missing = [setting for setting in ("NR", "SR", "MR") if setting not in attacks]
    if missing:
        print(f"not measured in this run, so not in the sum: {', '.join(missing)}")


if __name__ == "__main__":
    run(main)
