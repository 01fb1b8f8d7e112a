"""Tables of one run, one per claim and one of the models, as Markdown, CSV and LaTeX; the claims' are printed too."""
import pandas as pd

from attacks.arguments import open_run
from attacks.saved import read_configs
from common.command import run as run_command
from common.files import locked
from common.metrics import RESOLVABLE_NON_MEMBERS, resolvable
from common.paths import ORIGINAL
from data.splits import DISJOINT
from evaluation.added import HEADING, beyond_controls
from evaluation.evidence import read
from evaluation.names import short
from evaluation.writing import Table, flat, screen, with_interval, write
from models import protocol
from models.arguments import parser
from models.compression import describe

RATES = {"acc": "ACC (%)", "auc": "AUC (%)", "tpr": "TPR at 0.1% FPR (%)", "tpr_1": "TPR at 1% FPR (%)"}
TITLES = {
    "models": "The target, original and compressed: accuracy on the scored members and non-members, and size on disk",
    "C1": "CompLeakNR: each model attacked by itself",
    "C2": "CompLeakSR: the original and one compressed model together (SR1, SR2), beside every NR attack on either",
    "C3": "CompLeakMR: several compressed models together, beside SR2 on each of them and RMIA on the original",
}


# JSON values in, long-form frames of fractions out.

def rows(labels, result, attacks=None):
    """One dictionary an attack: the labels, then rates with their intervals, all fractions.

    result: values of a result file; attacks: which of them, default all, in the file's order.
    """
    found = []
    for attack, metrics in result["attacks"].items():
        if attacks is None or attack in attacks:
            rates = {name: value for name, value in metrics.items() if name not in ("inputs", "digest", "notes")}
            found.append({**labels, "attack": attack, **flat(rates), "shadows": result["shadows"]})
    return found


def nr_frame(nr):
    """C1 from {Version: NR values}: one row per model and attack."""
    return pd.DataFrame([row for version, result in nr.items() for row in rows({"model": str(version)}, result)])


def sr_frame(sr, nr):
    """C2 from {Version: SR values} and {Version: NR values}: for each pair every NR attack on both models, then SR."""
    found = []
    for version, result in sr.items():
        for setting, model in (("NR original", ORIGINAL), ("NR compressed", version)):
            if model in nr:
                found += rows({"version": str(version), "setting": setting}, nr[model])
        found += rows({"version": str(version), "setting": "SR"}, result)
    return pd.DataFrame(found)


def mr_frame(mr, sr, nr):
    """C3 from MR values, {Version: SR values} and {Version: NR values}: each group's MR, SR2 of its versions, RMIA."""
    found = []
    for group, members in mr["groups"].items():
        for name in [name for name in mr["attacks"] if name.rsplit(", ", 1)[0] == group]:
            setting = {"group": group, "setting": f"MR {name.rsplit(', ', 1)[1]}"}
            found += [{**row, "attack": "MR"} for row in rows(setting, mr, [name])]
        for version, result in sr.items():
            if str(version) in members:
                setting = {"group": group, "setting": f"SR {version}"}
                found += rows(setting, result, ["SR2 (LR)", "SR2 (RF)"])
        if ORIGINAL in nr:
            found += rows({"group": group, "setting": "NR original"}, nr[ORIGINAL], ["RMIA"])
    return pd.DataFrame(found)


def models_frame(configs):
    """One row a model from {Version: values of the target's config.json}; accuracies are fractions, sizes bytes."""
    found = []
    for version, config in configs.items():
        before = config.get("before", {})
        found.append({"model": str(version), "compression": describe(version),
                      "accuracy_in": config["accuracy_in"], "accuracy_out": config["accuracy_out"],
                      "before_in": before.get("accuracy_in"), "before_out": before.get("accuracy_out"),
                      "bytes": config["bytes"], "ratio": config["ratio"], "epochs": config["settings"]["epochs"],
                      "weights": config["weights"]})
    return pd.DataFrame(found)


# Frames of fractions in, text out.

def readable(frame):
    """The labels of a claim's frame, then ACC, AUC and TPR as text: per cent with 95% intervals; empty stays empty."""
    if frame.empty:
        return frame
    text = frame.loc[:, : "attack"].map(short)
    for rate, heading in RATES.items():
        text[heading] = [_cell(row, rate) for row in frame.to_dict("records")]
    return text


def _cell(row, rate):
    if pd.isna(row[rate]) or not resolvable(rate, row["non_members"]):
        return "-" if pd.isna(row[rate]) else "not resolvable"
    return with_interval(row[rate], (row[f"{rate}_low"], row[f"{rate}_high"]))


def _per_cent(value):
    return "-" if pd.isna(value) else f"{100 * value:.2f}"


def overview(frame):
    """{heading: frame of text}, one block a rate, a row an attack, a column a model: per cent ± half the interval."""
    models, blocks, records = frame["model"].unique(), {}, frame.to_dict("records")
    for rate, heading in RATES.items():
        if frame[rate].isna().all() or not all(resolvable(rate, row["non_members"]) for row in records):
            continue
        cells = {(row["attack"], row["model"]): _brief(row, rate) for row in records}
        lines = [[short(attack), *(cells.get((attack, model), "-") for model in models)]
                 for attack in frame["attack"].unique()]
        blocks[heading] = pd.DataFrame(lines, columns=["attack", *map(short, models)])
    return blocks


def _brief(row, rate):
    if pd.isna(row[rate]):
        return "-"
    return f"{100 * row[rate]:.1f} ±{50 * (row[f'{rate}_high'] - row[f'{rate}_low']):.1f}"


def details(frame, by):
    """{heading: frame of text with intervals}, one block for each value of the column `by`."""
    text = readable(frame)
    return {short(name): text[frame[by] == name].drop(columns=by) for name in frame[by].unique()}


def models_text(frame):
    """The models' frame as text: per cent and MB (10^6 bytes)."""
    text = pd.DataFrame({"model": frame["model"].map(short), "compression": frame["compression"]})
    for key, heading in (("accuracy_in", "members (%)"), ("accuracy_out", "non-members (%)"),
                         ("before_in", "members before (%)"), ("before_out", "non-members before (%)")):
        text[heading] = list(map(_per_cent, frame[key]))
    text["MB"] = ["-" if pd.isna(size) else f"{size / 1e6:.2f}" for size in frame["bytes"]]
    text["times smaller"] = ["-" if pd.isna(ratio) or model == str(ORIGINAL) else f"{ratio:.2f}"
                             for model, ratio in zip(frame["model"], frame["ratio"], strict=True)]
    return text


def caption(run, name, frame, nr):
    """Where a table's numbers come from: data, rows, members, seed, split, protocol, pools, a claim's shadows."""
    split, settings = run.split, run.settings
    scored = split.target.scored
    text = (f"{TITLES[name]}. Data {settings.data_label}, {run.layout.model}: {2 * scored:,} rows of the target, "
            f"{scored:,} of them members; each model has {split.train_size:,} members; seed {run.name}, "
            f"split {split.digest}")
    if settings.protocol != protocol.SOUND:
        text += f"; protocol {settings.protocol}, which is not the sound one"
    if settings.pools != DISJOINT:
        pool = len(split.target.members) + len(split.target.non_members)
        text += f"; pools {settings.pools}, so every model drew its members from the same {pool:,} pictures"
    if name == "models":
        return text + "."
    shadows = " or ".join(map(str, sorted(frame["shadows"].unique())))
    text += f"; attacks fitted on {shadows} shadow model(s)" if shadows != "0" else "; no shadow model, so no ACC"
    chosen = {str(result["attacks"]["RMIA"]["inputs"]["options"]["rmia_a"]) for result in nr.values()
              if "RMIA" in result["attacks"]}
    if chosen:
        text += f"; RMIA with a = {' or '.join(sorted(chosen))}"
    text += ". Per cent with 95% intervals, [low, high] or ± half of it: AUC's by DeLong, ACC's and TPR's by bootstrap."
    if not frame["tpr_resolvable"].all():
        text += f" TPR at 0.1% FPR is not resolvable with fewer than {RESOLVABLE_NON_MEMBERS:,} non-members."
    return text


# The tables themselves.

def build(found):
    """Every Table that a run's Evidence allows; missing models are named in one line."""
    made, run, nr, sr = [], found.run, found.nr, found.sr
    configs = read_configs(run)
    if configs:
        frame = models_frame(configs)
        made.append(Table("models", caption(run, "models", frame, {}), frame, {"Models": models_text(frame)}))
    if nr:
        frame = nr_frame(nr)
        blocks = overview(frame) | details(frame, "attack")
        made.append(Table("C1", caption(run, "C1", frame, nr), frame, blocks))
    if sr:
        frame = sr_frame(sr, nr)
        # NR on the original is the same beside every version: one column of its own says it once.
        model = frame["version"].where(frame["setting"] != "NR original", str(ORIGINAL))
        blocks = overview(frame.assign(model=model)) | beyond_controls(found, "SR") | details(frame, "version")
        made.append(Table("C2", caption(run, "C2", frame, nr), frame, blocks))
    if found.multi:
        frame = mr_frame(found.multi, sr, nr)
        blocks = beyond_controls(found, "MR") | details(frame, "group")
        made.append(Table("C3", caption(run, "C3", frame, nr), frame, blocks))
    return made


def main(argv=None):
    run = open_run(parser(__doc__).parse_args(argv))
    folder = run.layout.tables
    with locked(folder / "tables"):
        made = build(read(run))
        for table in made:
            write(table, folder)
    for table in made:
        if table.name != "models":
            rates = [heading for heading in table.blocks if heading in (*RATES.values(), HEADING)]
            print("\n" + screen(table, rates or list(table.blocks)))
    print(f"{', '.join(table.name for table in made) or 'no table'} written to {folder} (.md, .csv, .tex)")


if __name__ == "__main__":
    run_command(main)
