"""What the report says beside tables and curves: the run's facts, deviations, the protocol, several seeds."""
import statistics

import pandas as pd

from attacks import nr, sr
from attacks.attack import REFERENCE
from attacks.rmia import POPULATION
from common.intervals import t_interval
from evaluation import differences
from evaluation.figures import BARS, SR_CURVE
from evaluation.names import short
from models import protocol
from models.record import at_chance_lines

# The appendix's training, by technique: epochs, learning rate.
APPENDIX = {None: (100, 0.1), "pruning": (30, 0.001), "quantization": (30, 0.001), "clustering": (30, 0.00001)}


def facts(run, configs):
    """[(what, value)] of a run: data, split, seed, protocol, hardware, versions; configs {Version: its config.json}."""
    settings, split = run.settings, run.split
    found = [("Data", f"{settings.data_label}, {len(settings.classes)} classes"),
             ("Scored rows of the target", f"{split.target.scored:,} members and {split.target.scored:,} non-members"),
             ("Shadow models", str(len(split.shadows))), ("Seed", str(settings.seed)), ("Split", split.digest)]
    if not run.layout.is_own:
        # How models made elsewhere were trained and asked is not known.
        size = settings.image_size
        found += [("Network", run.layout.model), ("Members of each model", f"{split.train_size:,}"),
                  ("Protocol", settings.protocol), ("Pools", settings.pools),
                  ("Picture size", f"{size} × {size} pixels"),
                  ("Random crops and flips in training", "yes" if settings.augment else "no")]
    config = next(iter(configs.values()), {})
    recorded = {"Hardware": config.get("device"), "Python": config.get("python"),
                "Versions": ", ".join(f"{name} {number}" for name, number in config.get("versions", {}).items())}
    return found + [(name, value or "not recorded") for name, value in recorded.items()]


def stages(run, configs):
    """How each model of the target was made, a row a model: text."""
    rows = []
    for version, config in configs.items():
        made, log = config["settings"], run.layout.file(version, run.layout.attacked, "log.jsonl")
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
    without = [short(version) for version, result in nr.items() if "SAMIA" not in result["attacks"]]
    if without:
        lacking = "sensitivities" if split.shadows else "a shadow"
        found.append(f"SAMIA is left out for {', '.join(without)}: it needs {lacking}.")
    allowed = split.target.scored // 1000
    found.append(f"TPR at 0.1% FPR allows {allowed} false positive(s) among {split.target.scored:,} non-members"
                 + (": not resolvable." if allowed < 1 else "."))
    return found


def _shorter(configs):
    found = {}
    for version, config in configs.items():
        if version.technique not in APPENDIX:
            continue
        epochs, lr = APPENDIX[version.technique]
        made = config["settings"]
        if (made.get("epochs"), made.get("lr")) != (epochs, lr):
            text = f"{_or_dash(made.get('epochs'))} epochs at learning rate {_or_dash(made.get('lr'))}"
            found.setdefault((text, f"{epochs} at {_or_dash(lr)}"), []).append(short(version))
    return [f"{', '.join(names)}: {text}; the appendix has {asked}." for (text, asked), names in found.items()]


# What the protocol is worth.

def ablation(run):
    """{"notes", "tables": [(caption, frame, folded)]} of ablation.json: what moved; the rest folded. None without."""
    table = differences.table(run)
    if table is None:
        return None
    tables, still, place = [], {}, 0
    for caption, text in table.blocks.items():
        numbers = table.frame.iloc[place:place + len(text)]
        place += len(text)
        moved = (numbers[[f"{rate}_difference" for rate in differences.SHOWN]].abs() >= 5e-5).any(axis=1).to_numpy()
        rates = [name for name in ("AUC (%)", "AUC seed by seed", "TPR at 0.1% FPR (%)", "ACC (%)") if name in text]
        names = [_what(row) for row in text.to_dict("records")]
        narrow = pd.DataFrame({"attack": names, **{rate: text[rate].to_numpy() for rate in rates}})
        if moved.any():
            tables.append((caption, narrow[moved], False))
        if not moved.all():
            still[caption.split(":")[0]] = narrow["attack"][~moved].tolist()
    frame = pd.DataFrame([[choice, str(len(names)), ", ".join(names)] for choice, names in still.items()],
                         columns=["choice", "rows", "what it does not move at all"])
    return {"notes": [table.caption], "tables": [*tables, *([("What does not move", frame, True)] if still else [])]}


def _what(row):
    if row["setting"] == "MR":
        return f"MR, {row['attack']}"
    return f"{short(row['attack'])}, {'original + ' if row['setting'] == 'SR' else ''}{short(row['model'])}"


# Several seeds.

def main_rows(found):
    """{attack and model in words: metrics}: a few NR attacks and all with references on every model, SR2's forest and
    those with references for every pair, every MR."""
    rows = {f"{short(name)}, {short(version)}": result["attacks"][name] for version, result in found.nr.items()
            for name in ("SAMIA", *BARS, *_with_references(nr.ATTACKS)) if name in result["attacks"]}
    rows |= {f"{short(name)}, original + {short(version)}": result["attacks"][name]
             for version, result in found.sr.items()
             for name in (SR_CURVE, *_with_references(sr.ATTACKS)) if name in result["attacks"]}
    multi = found.multi or {"attacks": {}}
    return rows | {short(f"MR, {name}"): metrics for name, metrics in multi["attacks"].items()}


def _with_references(attacks):
    """Names of the attacks in which shadows answer the scored points too, what ranks as another one left out."""
    return [name for name, attack in attacks.items() if attack.knowledge == REFERENCE and name != POPULATION]


def seeds_table(rows, seeds, rate):
    """Mean, Student's interval of it, spread (standard deviation) and each run's value in per cent: text.

    rows: {label: [metrics a run]}, of `main_rows`; seeds: the runs' names, [] for no column of each; rate: "auc",
    "tpr" or "tpr_1".
    """
    lines = []
    for label, found in rows.items():
        values = [100 * metrics[rate] for metrics in found]
        low, high = t_interval(values)
        lines.append([label, f"{statistics.mean(values):.2f}", f"[{low:.2f}, {high:.2f}]",
                      f"{statistics.stdev(values):.2f}", *(f"{value:.2f}" for value in values[:len(seeds)])])
    return pd.DataFrame(lines, columns=["attack", "mean", "t interval", "spread", *(f"seed {seed}" for seed in seeds)])
