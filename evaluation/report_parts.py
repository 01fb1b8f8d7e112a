"""What the report says beside tables and curves: the run's facts, deviations, exposed examples, several seeds."""
import base64
import io
import statistics

import numpy as np
import pandas as pd
from PIL import Image

from attacks.saved import attack_scores, read_multi, read_results
from common.errors import CompLeakError
from common.paths import ORIGINAL
from data import sets
from evaluation.figures import BARS, SR_CURVE, saved_scores
from evaluation.names import short
from models import protocol
from models.record import at_chance_lines
from models.stage import load_data

# The appendix's training, by technique: epochs, learning rate.
APPENDIX = {None: (100, 0.1), "pruning": (30, 0.001), "quantization": (30, 0.001), "clustering": (30, 0.00001)}
EXPOSED = 12
EXPOSED_BY = ("RMIA", "metric_based_2")  # the first that the run has; named here, not picked by a result


def facts(run, configs):
    """[(what, value)] of a run: data, split, seed, protocol, hardware, versions; configs from `read_configs`."""
    settings, split = run.settings, run.split
    found = [("Data", f"{settings.data_label}, {len(settings.classes)} classes"),
             ("Scored rows of the target", f"{split.target.scored:,} members and {split.target.scored:,} non-members"),
             ("Shadow models", str(len(split.shadows))), ("Seed", str(settings.seed)), ("Split", split.fingerprint)]
    if not run.layout.is_own:
        # How models made elsewhere were trained and asked is not known.
        size = settings.image_size
        found += [("Network", run.layout.model), ("Members of each model", f"{split.train_size:,}"),
                  ("Protocol", settings.protocol), ("Picture size", f"{size} × {size} pixels"),
                  ("Random crops and flips in training", "yes" if settings.augment else "no")]
    config = next(iter(configs.values()), {})
    recorded = {"Hardware": config.get("device"), "Python": config.get("python"),
                "Versions": ", ".join(f"{name} {number}" for name, number in config.get("versions", {}).items())}
    return found + [(name, value or "not recorded") for name, value in recorded.items()]


def stages(run, configs):
    """How each model of the target was made, a row a model: text."""
    rows = []
    for version, config in configs.items():
        made, log = config["settings"], run.layout.file(version, "target", "log.jsonl")
        seconds = pd.read_json(log, lines=True)["seconds"].sum() if log.exists() and log.stat().st_size else None
        rows.append([str(version), *(_or_dash(made.get(key)) for key in ("epochs", "lr", "batch_size")),
                     {True: "bfloat16", False: "float32"}.get(made.get("bfloat16"), "-"),
                     "-" if seconds is None else f"{seconds:,.0f} s", config.get("device") or "-"])
    return pd.DataFrame(rows, columns=["model", "epochs", "learning rate", "batch", "arithmetic", "training time",
                                       "hardware"])


def _or_dash(value):
    return "-" if value is None else f"{value:.10f}".rstrip("0").rstrip(".")


def deviations(runs, configs, nr):
    """Sentences on what differs from the appendix's experiment, from recorded facts alone."""
    settings, split = runs[0].settings, runs[0].split
    if runs[0].layout.is_own:
        found = ["The models were made elsewhere: nothing here says how they were trained or asked."]
    else:
        official = settings.data_label == "CIFAR-10"
        found = [] if official else [f"The data are {settings.data_label}, not the official CIFAR-10."]
        if split.train_size != 20_000:
            found.append(f"Each model has {split.train_size:,} members; the design has 20,000.")
        if not settings.augment:
            found.append("Training was without random crops and flips.")
        found += _shorter(configs)
    if settings.protocol != protocol.SOUND:
        found.append(f"Protocol {settings.protocol}: choices of the authors' released code that move the numbers.")
    found += [f"{line}." for run in runs for line in at_chance_lines(run, run.versions())]
    found.append(f"Seeds: {len(runs)}. Shadow models: {len(split.shadows)}.")
    without = [short(str(version)) for version, result in nr.items() if "SAMIA" not in result["attacks"]]
    if without:
        found.append(f"SAMIA is left out for {', '.join(without)}: it needs sensitivities and a shadow.")
    allowed = split.target.scored // 1000
    found.append(f"TPR at 0.1% FPR allows {allowed} false positive(s) among {split.target.scored:,} non-members"
                 + (": not resolvable." if allowed < 1 else "."))
    return found


def _shorter(configs):
    found = {}
    for version, config in configs.items():
        epochs, lr = APPENDIX[version.technique]
        made = config["settings"]
        if (made.get("epochs"), made.get("lr")) != (epochs, lr):
            text = f"{_or_dash(made.get('epochs'))} epochs at learning rate {_or_dash(made.get('lr'))}"
            found.setdefault((text, f"{epochs} at {_or_dash(lr)}"), []).append(short(str(version)))
    return [f"{', '.join(names)}: {text}; the appendix has {asked}." for (text, asked), names in found.items()]


# The members that stand out.

def pictures(run, data_dir):
    """(Dataset, "") of a run's pictures, or (None, why they are not at hand); nothing is downloaded."""
    data_dir = data_dir or run.settings.data_dir
    if run.layout.is_own:
        return None, "pictures of models made elsewhere are not known to the run"
    if not sets.at_hand(run.layout.dataset, data_dir, run_dir=run.layout.run_dir):
        return None, f"{sets.DATASETS[run.layout.dataset].label} is not in data/datasets/; --data_dir names a copy"
    try:
        return load_data(run, data_dir, run.settings.data_label), ""
    except CompLeakError as error:
        return None, str(error)


def exposed(run, nr, data):
    """The members with the highest score on the original, and how they score on every model; None without such scores.

    Returns {"attack", "columns": model names, "rows": [{"index", "label", "picture": PNG as base64 or None, "cells":
    [{"score", "share": of non-members that score as high}]}]}, the most exposed first. data: a Dataset or None.
    """
    attack = next((name for name in EXPOSED_BY if name in nr.get(ORIGINAL, {"attacks": ()})["attacks"]), None)
    if attack is None:
        return None
    models = {version: result for version, result in nr.items() if attack in result["attacks"]}
    scores = {version: saved_scores(run, version, "NR", result, [attack]) for version, result in models.items()}
    index, member, found = attack_scores(run, ORIGINAL, "NR", [attack])
    first = found[attack]
    chosen = [row for row in np.argsort(-first, kind="stable") if member[row]][:EXPOSED]
    labels = _labels(run, data)
    rows = [{"index": int(index[row]), "label": labels(index[row]), "picture": _png(data, index[row]),
             "cells": [{"score": f"{values[attack][row]:.4g}", "share": _share(values[attack], ~members, row)}
                       for values, members in scores.values()]} for row in chosen]
    return {"attack": attack, "columns": [short(str(version)) for version in scores], "rows": rows}


def _share(scores, non_member, row):
    return f"{100 * np.mean(scores[non_member] >= scores[row]):.2f}%"


def _labels(run, data):
    classes = run.settings.classes
    if data is not None:
        return lambda index: classes[data.labels[index]]
    if not run.layout.file(ORIGINAL, "target", "queries.npz").exists():
        return lambda index: "-"
    queries = run.queries(ORIGINAL, "target")
    return lambda index: classes[queries.labels[queries.rows(np.array([index]))[0]]]


def _png(data, index):
    if data is None:
        return None
    file = io.BytesIO()
    Image.fromarray(data.images[index]).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# Several seeds.

def main_rows(run):
    """{attack and model in words: metrics}: a few NR attacks on every model, SR2's forest for every pair, every MR."""
    found = {f"{name}, {short(str(version))}": result["attacks"][name]
             for version, result in read_results(run, "NR").items()
             for name in ("SAMIA", *BARS) if name in result["attacks"]}
    found |= {f"{SR_CURVE}, original + {short(str(version))}": result["attacks"][SR_CURVE]
              for version, result in read_results(run, "SR").items()}
    try:
        found |= {f"MR, {name}": metrics for name, metrics in read_multi(run)["attacks"].items()}
    except CompLeakError as error:
        print(f"MR is left out of the seeds: {error}")
    return found


def seeds_table(rows, seeds, rate):
    """Mean, spread (standard deviation) and each seed's value in per cent, a row of `main_rows`: text.

    rows: {label: [metrics a seed]}; rate: "auc" or "tpr".
    """
    lines = []
    for label, found in rows.items():
        values = [100 * metrics[rate] for metrics in found]
        lines.append([label, f"{statistics.mean(values):.2f}", f"{statistics.stdev(values):.2f}",
                      *(f"{value:.2f}" for value in values)])
    return pd.DataFrame(lines, columns=["attack", "mean", "spread", *(f"seed {seed}" for seed in seeds)])
