"""Figures of one run: ROC curves at low false positive rates (roc.png) and AUCs with intervals (auc.png)."""
import io
import re

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg

from attacks.arguments import open_run
from attacks.mr import AGGREGATED
from common.command import run as run_command
from common.files import atomic, locked
from common.paths import ORIGINAL
from evaluation import answer, claims
from evaluation.drawing import draw_auc, draw_roc
from evaluation.evidence import read_some
from evaluation.names import SETTINGS, runs_in_words, short
from models.arguments import parser

# Named here, not picked by a result: the six attacks of the paper, forests where there are two classifiers.
NR_CURVES = ("SAMIA", "metric_based_1", "metric_based_2", "train_based_1 (RF)", "train_based_2 (RF)", "RMIA")
SR_CURVE = "SR2 (RF)"
BARS = ("metric_based_2", "train_based_2 (RF)", "RMIA", SR_CURVE)
ALONE = "RMIA, original alone"
PANELS = {"NR": "NR: the original", "SR": "SR: the original and one compressed", "MR": "MR: several compressed"}
DPI = 110


def roc_figure(found, judged):
    """ROC curves of one run: NR on the original, SR2's forest for every version, MR, as far as they are there; beside
    them RMIA on the original and the attacker's best. found: its Evidence; judged: values of claims.json, or None."""
    return draw_roc(roc_panels(found, judged), f"ROC, {where_from(found.run)}")


def roc_panels(found, judged):
    """{panel's title: ({label: scores [n]}, member [n] bool)}; arguments as `roc_figure`."""
    scores, original = found.scores, str(ORIGINAL)
    panels = {
        "NR": {f"{short(name)}, original": ("NR", original, name) for name in NR_CURVES},
        "SR": {f"{short(SR_CURVE)}, {short(version)}": ("SR", str(version), SR_CURVE) for version in found.sr},
        "MR": {f"MR, {key[1]}, {key[2].removesuffix(' the original')}": key for key in _mr_keys(found)}}
    best = {setting: {f"best {SETTINGS[setting]}: {words}": key}
            for setting, (key, words) in answer.chosen(judged).items()}
    made = {}
    for setting, curves in panels.items():
        if any(key in scores for key in (*curves.values(), *best.get(setting, {}).values())):
            alone = {} if setting == "NR" else {ALONE: ("NR", original, "RMIA")}
            keys = {**alone, **curves, **best.get("NR", {}), **best.get(setting, {})}
            made[PANELS[setting]] = {label: scores[key] for label, key in keys.items() if key in scores}, found.member
    return made


def _mr_keys(found):
    """The keys of the paper's MR attacks that a run has."""
    return [key for key in found.scores if key[0] == "MR" and key[2] in AGGREGATED]


def auc_figure(found, judged):
    """AUC of three NR attacks on every model, of SR2's forest with the original, of MR by group, and of the attacker's
    best, as far as they are there; a line at RMIA on the original. Arguments as `roc_figure`."""
    rows = {}
    for version in dict.fromkeys([*found.nr, *found.sr]):
        attacks = {**found.metrics("NR", version), **found.metrics("SR", version)}
        rows[short(version)] = {short(name): _rates(attacks[name]) for name in BARS if name in attacks}
    for _, group, knows in _mr_keys(found):
        rows.setdefault(group, {})[f"MR, {knows}"] = _rates(found.multi["attacks"][f"{group}, {knows}"])
    rows |= {f"best {row.label}": {"best attack": (row.mean, *row.interval)} for row in answer.rows(judged)}
    alone = found.metrics("NR", ORIGINAL).get("RMIA")
    return draw_auc(rows, f"AUC with 95% intervals\n{where_from(found.run)}", (ALONE, alone["auc"]) if alone else None)


def _rates(metrics):
    return metrics["auc"], *metrics["auc_interval"]


def where_from(run, *others):
    """Data, model and seeds of some runs, for a title, and protocol and pools where they are not the usual ones."""
    settings = run.settings
    return f"{settings.data_label}, {run.layout.model}, {which(run, *others)}{settings.unusual}"


def which(*runs):
    """Runs in words, as `names.runs_in_words`."""
    return runs_in_words([{"seed": run.settings.seed, "name": run.name} for run in runs])


def save(figure, path):
    """Write a figure as PNG, whole or not at all, without a display."""
    FigureCanvasAgg(figure)
    with atomic(path) as beside:
        figure.savefig(beside, format="png", dpi=DPI)


def svg(figure):
    """A figure as SVG for a page, bytes: small, the same every time, every text as it was drawn."""
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    # Every piece of text names the whole list of fonts, so the list is short.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "compleak", "path.simplify_threshold": 0.5,
                     "font.sans-serif": ["DejaVu Sans", "Verdana"]}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    _, *tag = file.getvalue().partition(b"<svg")  # in a page the heading of a file is of no use
    return re.sub(rb"<[^>]*>|(?<=>)\s+(?=<)", _shorter, b"".join(tag))


def _shorter(found):
    """A tag with coordinates to a tenth of a pixel, half the size; blanks between tags vanish, texts stay."""
    tag = re.sub(rb"\s+", b" ", found[0]).lstrip()
    return re.sub(rb' (d|x|y|transform)="(?![^"]*(?:scale|matrix))[^"]*"', lambda coordinates: re.sub(
        rb"-?\d+\.\d+", lambda number: b"%.1f" % float(number[0]), coordinates[0]), tag)


def main(argv=None):
    run = open_run(parser(__doc__).parse_args(argv))
    with locked(run.layout.tables / "figures"):
        found, judged = read_some(run), claims.judged(run)
        for name, draw in (("roc.png", roc_figure), ("auc.png", auc_figure)):
            save(draw(found, judged), run.layout.tables / name)
            print(f"{run.layout.tables / name} written")


if __name__ == "__main__":
    run_command(main)
