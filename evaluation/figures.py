"""Figures of one run: ROC curves at low false positive rates (roc.png) and AUCs with intervals (auc.png)."""
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg

from attacks.arguments import open_run
from attacks.mr import AGGREGATED
from attacks.saved import attack_scores, multi_or_none, read_results
from common.command import run as run_command
from common.errors import CompLeakError
from common.files import atomic, locked
from common.paths import ORIGINAL, Version
from evaluation import answer, claims
from evaluation.best import SETTINGS
from evaluation.drawing import draw_auc, draw_roc
from evaluation.names import short
from models import hints
from models.arguments import parser

# Named here, not picked by a result: the six attacks of the paper, forests where there are two classifiers.
NR_CURVES = ("SAMIA", "metric_based_1", "metric_based_2", "train_based_1 (RF)", "train_based_2 (RF)", "RMIA")
SR_CURVE = "SR2 (RF)"
BARS = ("metric_based_2", "train_based_2 (RF)", "RMIA", SR_CURVE)
ALONE = "RMIA, original alone"
PANELS = {"NR": "NR: the original", "SR": "SR: the original and one compressed", "MR": "MR: several compressed"}
DPI = 110


class Read(NamedTuple):
    """What a run's figures are drawn from: {Version: NR values}, {Version: SR values}, values of MR.json and of
    claims.json, None where there are none."""

    nr: dict
    sr: dict
    multi: dict | None
    judged: dict | None


def read(run, judged):
    """The Read of a run; judged: what `claims.judged` gave."""
    nr, sr = read_results(run, "NR"), read_results(run, "SR")
    return Read(nr, sr, multi_or_none(run, "figures without MR"), judged)


def read_some(run):
    """The Read of a run; CompLeakError, naming the command, where there is neither NR nor SR."""
    found = read(run, claims.judged(run))
    if not found.nr and not found.sr:
        raise CompLeakError(f"nothing to draw yet: run {hints.attacks(run.layout, 'NR', [ORIGINAL])}")
    return found


def roc_figure(run, found=None):
    """ROC curves of one run: NR on the original, SR2's forest for every version, MR, as far as they are there; beside
    them RMIA on the original and the attacker's best. found: what `read_some` gave, where it was called before."""
    return draw_roc(roc_panels(run, found or read_some(run)), f"ROC, {where_from(run)}")


def roc_panels(run, found):
    """{panel's title: ({label: scores [n]}, member [n] bool)} of what `read` gave."""
    panels, alone = {}, {}
    if ORIGINAL in found.nr:
        scores, member = saved_scores(run, ORIGINAL, "NR", found.nr[ORIGINAL], NR_CURVES)
        panels["NR"] = {f"{short(name)}, original": one for name, one in scores.items()}, member
        alone = {ALONE: scores["RMIA"]} if "RMIA" in scores else {}
    made = {version: saved_scores(run, version, "SR", result, [SR_CURVE]) for version, result in found.sr.items()}
    curves = {f"{short(SR_CURVE)}, {short(str(version))}": scores[SR_CURVE] for version, (scores, _) in made.items()
              if SR_CURVE in scores}
    if curves:
        panels["SR"] = {**alone, **curves}, next(iter(made.values()))[1]
    if found.multi:
        scores, member = saved_scores(run, ORIGINAL, "MR", found.multi, _shown(found.multi))
        curves = {f"MR, {label.removesuffix(' the original')}": values for label, values in scores.items()}
        panels["MR"] = {**alone, **curves}, member
    best = _best_curves(run, found.judged)
    return {PANELS[setting]: ({**curves, **best.get("NR", {}), **best.get(setting, {})}, member)
            for setting, (curves, member) in panels.items()}


def _best_curves(run, judged):
    """{setting: {label: scores [n]}} of the attacker's best."""
    found = {}
    for setting, (key, words) in answer.chosen(judged).items():
        _, model, name = key
        version, name = (ORIGINAL, f"{model}, {name}") if setting == "MR" else (Version.named(model), name)
        scores = attack_scores(run, version, setting, [name])[2][name]
        found[setting] = {f"best {SETTINGS[setting]}: {words}": scores}
    return found


def _shown(multi):
    return [name for name in multi["attacks"] if name.rsplit(", ", 1)[1] in AGGREGATED]


def auc_figure(run, found=None):
    """AUC of three NR attacks on every model, of SR2's forest with the original, of MR by group, and of the attacker's
    best, as far as they are there; a line at RMIA on the original. found: as of `roc_figure`."""
    found, rows = found or read_some(run), {}
    known = {version: result["attacks"] for version, result in found.nr.items()}
    for version in dict.fromkeys([*known, *found.sr]):
        attacks = {**known.get(version, {}), **found.sr.get(version, {"attacks": {}})["attacks"]}
        rows[short(str(version))] = {short(name): _rates(attacks[name]) for name in BARS if name in attacks}
    for name in _shown(found.multi) if found.multi else []:
        group, knows = name.rsplit(", ", 1)
        rows.setdefault(group, {})[f"MR, {knows}"] = _rates(found.multi["attacks"][name])
    rows |= {f"best {row.label}": {"best attack": (row.mean, *row.interval)} for row in answer.rows(found.judged)}
    alone = known.get(ORIGINAL, {}).get("RMIA")
    return draw_auc(rows, f"AUC with 95% intervals\n{where_from(run)}", (ALONE, alone["auc"]) if alone else None)


def _rates(metrics):
    return metrics["auc"], *metrics["auc_interval"]


def saved_scores(run, version, setting, result, names):
    """({attack: scores [n]}, member [n] bool) of the named attacks that a result holds, from its own scores file."""
    names = [name for name in names if name in result["attacks"]]
    _, member, scores = attack_scores(run, version, setting, names)
    return scores, member


def where_from(run, *others):
    """Data, model and seeds of some runs, for a title, and protocol and pools where they are not the usual ones."""
    settings, seeds = run.settings, ", ".join(one.name for one in (run, *others))
    return f"{settings.data_label}, {run.layout.model}, seed{'s' if others else ''} {seeds}{settings.unusual}"


def save(figure, path):
    """Write a figure as PNG, whole or not at all, without a display."""
    FigureCanvasAgg(figure)
    with atomic(path) as beside:
        figure.savefig(beside, format="png", dpi=DPI)


def main(argv=None):
    run = open_run(parser(__doc__).parse_args(argv))
    with locked(run.layout.tables / "figures"):
        found = read_some(run)
        for name, draw in (("roc.png", roc_figure), ("auc.png", auc_figure)):
            save(draw(run, found), run.layout.tables / name)
            print(f"{run.layout.tables / name} written")


if __name__ == "__main__":
    run_command(main)
