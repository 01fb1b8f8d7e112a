"""Tables of one run, one per claim and one of the models, as Markdown, CSV and LaTeX; the claims' are printed too."""
import textwrap
from dataclasses import dataclass

import pandas as pd

from attacks.cli import open_run
from attacks.results import FORMAT
from models.checkpoint import ALL_VARIANTS, DEGREES, ORIGINAL, atomic, read_json
from models.cli import parser, run
from models.errors import CompLeakError
from models.stage import load_split

RATES = {"acc": "ACC (%)", "auc": "AUC (%)", "tpr": "TPR at 0.1% FPR (%)"}
SHORT = {"metric_based_": "metric ", "train_based_": "train ", "loss_threshold": "loss", "correctness": "correct",
         "population": "pop", "pruning_": "pruned ", "quantization_": "", "clustering_": "cluster ", "(": "", ")": ""}
TITLES = {
    "models": "The target, original and compressed: accuracy on the scored members and non-members, and size on disk",
    "C1": "CompLeakNR: each model attacked by itself",
    "C2": "CompLeakSR: the original and one compressed model together, beside every NR attack on either of the two",
    "C3": "CompLeakMR: several compressed models together, beside SR2 on each of them and RMIA on the original",
}
INTERVALS = "Per cent; 95% intervals in brackets, of the AUC by DeLong, of ACC and TPR by bootstrap."
WIDTH = 110


@dataclass(frozen=True)
class Table:
    """A finished table: frame is what the CSV holds (fractions), blocks are {heading: frame of text} for reading."""

    name: str
    caption: str
    frame: pd.DataFrame
    blocks: dict


# What a run has saved, and what it lacks.

def read_results(layout, setting):
    """{Variant: values of its NR.json or SR.json}; one line is printed on those that are absent or out of date."""
    wanted = [v for v in dict.fromkeys([*ALL_VARIANTS, *layout.variants()]) if setting == "NR" or v != ORIGINAL]
    found = {v: _read_current(layout, v, f"{setting}.json", attack_commands(layout, setting, [v])) for v in wanted}
    missing = [v for v in wanted if found[v] is None]
    if missing:
        print(f"{setting} lacks {', '.join(map(str, missing))}: run {attack_commands(layout, setting, missing)}")
    return {variant: result for variant, result in found.items() if result is not None}


def read_multi(layout):
    """Values of MR.json; CompLeakError names the command where it is absent or out of date."""
    made_by = f"python -m attacks.multi {_flags(layout)}"
    result = _read_current(layout, ORIGINAL, "MR.json", made_by)
    if result is None:
        raise CompLeakError(f"{layout.result(ORIGINAL, 'MR.json')} is missing or was made from other models: run {made_by}")
    return result


def _read_current(layout, variant, name, made_by):
    path = layout.result(variant, name)
    if not path.exists():
        return None
    result = read_json(path, made_by)
    return result if result.get("format") == FORMAT and _is_current(layout, result["inputs"]) else None


def _is_current(layout, inputs):
    """Whether the models that a result was made from are those that lie in the run's folders now."""
    weights = inputs["weights"] if inputs["setting"] == "MR" else {inputs["variant"]: inputs["weights"]}
    models = [(model, i, name) for model, names in weights.items() for i, name in enumerate(names)]
    models += [("original", 0, sr["original"]) for sr in [inputs, *inputs.get("sr", {}).values()] if "original" in sr]
    trained = {str(variant): variant for variant in layout.variants()}
    for model, i, name in models:
        if model in trained:
            path = layout.file(trained[model], "target" if i == 0 else f"shadow_{i - 1}", "config.json")
            if path.exists() and read_json(path, "its command again")["weights"] != name:
                return False
    return True


def _flags(layout):
    where = "" if str(layout.run_dir) == "." else f" --run_dir {layout.run_dir}"
    return f"--dataset_name {layout.dataset} --model_name {layout.model}{where}"


def attack_commands(layout, setting, variants):
    """The commands that make NR.json or SR.json of these variants, one a technique, joined by '; '."""
    shared = f"python CompLeak{setting}.py {_flags(layout)}"
    commands = [f"{shared} --original"] if ORIGINAL in variants else []
    pair = " --original" if setting == "SR" else ""
    for technique in DEGREES:
        degrees = [variant.degree for variant in variants if variant.technique == technique]
        if degrees:
            commands.append(f"{shared}{pair} --compress --compress_name {technique} --compress_degree {' '.join(degrees)}")
    return "; ".join(commands)


# JSON values in, long-form frames of fractions out.

def rows(labels, result, setting, attacks=None):
    """One dictionary an attack: the labels, then rates with their intervals, all fractions.

    result: values of a result file; setting: NR, SR or MR; attacks: which of them, default all, in the file's order.
    """
    weights = result["inputs"]["weights"]
    shadows = len(next(iter(weights.values())) if setting == "MR" else weights) - 1
    found = []
    for attack, metrics in result["attacks"].items():
        if attacks is not None and attack not in attacks:
            continue
        rates = {}
        for rate in RATES:
            low, high = metrics[f"{rate}_interval"]
            rates |= {rate: metrics[rate], f"{rate}_low": low, f"{rate}_high": high}
        kept = {key: metrics[key] for key in ("tpr_resolvable", "fpr_of_decision", "members", "non_members")}
        found.append({**labels, "attack": attack, **rates, **kept, "shadows": shadows})
    return found


def nr_frame(nr):
    """C1 from {Variant: NR values}: one row per model and attack."""
    return pd.DataFrame([row for variant, result in nr.items() for row in rows({"model": str(variant)}, result, "NR")])


def sr_frame(sr, nr):
    """C2 from {Variant: SR values} and {Variant: NR values}: for each pair every NR attack on both models, then SR."""
    found = []
    for variant, result in sr.items():
        for setting, model in (("NR original", ORIGINAL), ("NR compressed", variant)):
            if model in nr:
                found += rows({"variant": str(variant), "setting": setting}, nr[model], "NR")
        found += rows({"variant": str(variant), "setting": "SR"}, result, "SR")
    return pd.DataFrame(found)


def mr_frame(mr, sr, nr):
    """C3 from MR values, {Variant: SR values} and {Variant: NR values}: each group's MR, SR2 of its variants, RMIA."""
    found = []
    for group, members in mr["inputs"]["groups"].items():
        for name in [name for name in mr["attacks"] if name.rsplit(", ", 1)[0] == group]:
            setting = {"group": group, "setting": f"MR {name.rsplit(', ', 1)[1]}"}
            found += [{**row, "attack": "MR"} for row in rows(setting, mr, "MR", [name])]
        for variant, result in sr.items():
            if str(variant) in members:
                setting = {"group": group, "setting": f"SR {variant}"}
                found += rows(setting, result, "SR", ["SR2 (LR)", "SR2 (RF)"])
        if ORIGINAL in nr:
            found += rows({"group": group, "setting": "NR original"}, nr[ORIGINAL], "NR", ["RMIA"])
    return pd.DataFrame(found)


def models_frame(configs):
    """One row a model from {Variant: values of the target's config.json}; accuracies are fractions, sizes bytes."""
    found = []
    for variant, config in configs.items():
        before = config.get("before", {})
        found.append({"model": str(variant), "compression": describe(variant),
                      "accuracy_in": config["accuracy_in"], "accuracy_out": config["accuracy_out"],
                      "before_in": before.get("accuracy_in"), "before_out": before.get("accuracy_out"),
                      "bytes": config["bytes"], "ratio": config["ratio"], "epochs": config["settings"]["epochs"],
                      "weights": config["weights"]})
    return pd.DataFrame(found)


def describe(variant):
    """What a variant's degree means, in words."""
    if variant.technique == "pruning":
        return f"sparsity {100 * float(variant.degree):g}%"
    if variant.technique == "clustering":
        return f"{variant.degree} centroids a layer, {int(variant.degree).bit_length() - 1} bits a weight"
    return "8 bits a weight and activation" if variant.technique == "quantization" else "none"


# Frames of fractions in, text out.

def readable(frame):
    """The labels of a claim's frame, then ACC, AUC and TPR as text: per cent with 95% intervals."""
    text = frame.loc[:, : "attack"].copy()
    for rate, heading in RATES.items():
        text[heading] = [_cell(row, rate) for row in frame.to_dict("records")]
    return text


def _cell(row, rate):
    if rate == "tpr" and not row["tpr_resolvable"]:
        return "not resolvable"
    value, low, high = (100 * row[key] for key in (rate, f"{rate}_low", f"{rate}_high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def overview(frame, down, across):
    """{heading: frame of text}, one block a rate, per cent: `down` names the columns that label rows, `across` one."""
    blocks, records = {}, frame.to_dict("records")
    for rate, heading in RATES.items():
        if rate == "tpr" and not frame["tpr_resolvable"].all():
            continue
        cells = {(*(row[name] for name in down), row[across]): f"{100 * row[rate]:.2f}" for row in records}
        lines = [[*labels, *(cells.get((*labels, name), "-") for name in frame[across].unique())]
                 for labels in dict.fromkeys(tuple(row[name] for name in down) for row in records)]
        blocks[heading] = pd.DataFrame(lines, columns=[*down, *map(short, frame[across].unique())])
    return blocks


def details(frame, by):
    """{heading: frame of text with intervals}, one block for each value of the column `by`."""
    return {name: readable(part).drop(columns=by).reset_index(drop=True) for name, part in frame.groupby(by, sort=False)}


def short(name):
    """A model's or an attack's name as a narrow heading."""
    for long, brief in SHORT.items():
        name = name.replace(long, brief)
    return name


def models_text(frame):
    """The models' frame as text: per cent and MB (10^6 bytes)."""
    text = pd.DataFrame({"model": frame["model"], "compression": frame["compression"]})
    for key, heading in (("accuracy_in", "members (%)"), ("accuracy_out", "non-members (%)"),
                         ("before_in", "members before (%)"), ("before_out", "non-members before (%)")):
        text[heading] = ["-" if pd.isna(value) else f"{100 * value:.2f}" for value in frame[key]]
    text["MB"] = [f"{size / 1e6:.2f}" for size in frame["bytes"]]
    text["times smaller"] = [f"{ratio:.2f}" for ratio in frame["ratio"]]
    return text
