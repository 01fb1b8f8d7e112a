"""Figures of one run: ROC curves at low false positive rates (roc.png) and AUCs with intervals (auc.png)."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attacks.arguments import open_run
from attacks.mr import AGGREGATED
from attacks.saved import attack_scores, read_multi, read_results
from common.command import run as run_command
from common.errors import CompLeakError
from common.files import atomic, locked
from common.intervals import RESAMPLES, bootstrap_tpr, percentile_interval
from common.metrics import LOW_FPR, RESOLVABLE_NON_MEMBERS, roc
from common.paths import ORIGINAL
from evaluation.names import short
from models import hints, protocol
from models.arguments import parser

# Named here, not picked by a result: the six attacks of the paper, forests where there are two classifiers.
NR_CURVES = ("SAMIA", "metric_based_1", "metric_based_2", "train_based_1 (RF)", "train_based_2 (RF)", "RMIA")
SR_CURVE = "SR2 (RF)"
BARS = ("metric_based_2", "train_based_2 (RF)", "RMIA", SR_CURVE)
# Okabe and Ito's palette without yellow, which is too light for lines; the styles tell curves apart in grey too.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")
LOWEST = 1e-4
DPI = 110
BAND_POINTS = 40
CELLS = 160


def draw_roc(panels, title, bands=False):
    """ROC curves on logarithmic axes, a panel a setting: Figure.

    panels: {panel's title: ({label: scores [n]}, member [n] bool)}. Axes begin at one non-member, or at 0.01%. bands:
    a pale band around each curve, 95% of the TPR at each FPR, and of the curve only what can be seen, to be small.
    """
    figure = Figure(figsize=(4.7 * len(panels), 5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, (heading, (curves, member)) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(),
                                                 strict=True):
        non_members = int((~member).sum())
        floor = max(LOWEST, 1 / non_members)
        axes.plot([floor, 1], [floor, 1], color="0.6", linewidth=1, label="chance")
        if non_members >= RESOLVABLE_NON_MEMBERS:
            axes.axvline(LOW_FPR, color="0.6", linewidth=1, linestyle=":", label="0.1% FPR")
        for label, style in styles(curves).items():
            # Steps, since no threshold lies between two scores; what is below the floor has no place on the axes.
            fpr, tpr = (np.maximum(rate, floor) for rate in roc(curves[label], member))
            if bands:
                fpr, tpr = visible(fpr, tpr, floor)
            axes.plot(fpr, tpr, drawstyle="steps-post", linewidth=1.5, label=label, **style)
            if bands:
                at = np.geomspace(floor, 0.999, BAND_POINTS)
                low, high = (np.maximum(end, floor) for end in band(curves[label], member, at))
                axes.fill_between(at, low, high, color=style["color"], alpha=0.1, linewidth=0)
        axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1), title=heading, aspect="equal",
                 xlabel="false positive rate (fraction)", ylabel="true positive rate (fraction)")
        axes.grid(color="0.92")
        axes.legend(fontsize=7.5, labelspacing=0.3, loc="lower right")
    return figure


def visible(fpr, tpr, floor):
    """The points of a ROC curve, from `floor` to 1 on logarithmic axes, without those that would be drawn on another.

    The axes are cut into CELLS steps each; of the points in one cell the first is kept, and the curve's last.
    """
    cells = np.stack([np.floor(CELLS * np.log(rate) / np.log(floor)) for rate in (fpr, tpr)])
    kept = np.append(True, (np.diff(cells) != 0).any(0))
    kept[-1] = True
    return fpr[kept], tpr[kept]


def band(scores, member, fprs, seed=0):
    """95% bootstrap interval of the TPR at each FPR [f] below 1: low [f], high [f]."""
    rng = np.random.default_rng(seed)
    return np.transpose([percentile_interval(bootstrap_tpr(scores, member, fpr, rng, RESAMPLES)) for fpr in fprs])


def draw_histogram(scores, member, title):
    """How members and non-members score, shares in per cent: Figure. scores [n], member [n] bool.

    The middle 98% of all scores make the axis; what lies beyond is counted in the first and last bar.
    """
    figure = Figure(figsize=(4.7, 3), layout="constrained")
    axes = figure.subplots()
    finite = scores[np.isfinite(scores)]
    low, high = np.percentile(finite, [1, 99])
    if low == high:
        low, high = finite.min(), finite.max() + 1e-9
    edges = np.linspace(low, high, 41)
    sides = ((member, "members", COLOURS[2], "-"), (~member, "non-members", COLOURS[1], "--"))
    for who, name, colour, style in sides:
        shares = 100 * np.histogram(np.clip(scores[who], low, high), edges)[0] / who.sum()
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(shares, edges, color=colour, linestyle=style, label=name)
    axes.set(title=title, xlabel="score", ylabel="share (%)")
    axes.title.set_fontsize(10)
    axes.legend(fontsize=8)
    return figure


def draw_seeds(rows, title):
    """A point a seed in a line a row, and their mean as a bar: Figure. rows: {label: [AUC a seed]}, fractions."""
    figure = Figure(figsize=(7, 1.2 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    values = 100 * np.array(list(rows.values()))
    places = np.arange(len(rows))
    axes.plot(values.mean(1), places, marker="|", markersize=13, color=COLOURS[2], linestyle="")
    axes.plot(values.ravel(), places.repeat(values.shape[1]), marker="o", markersize=4, color=COLOURS[1], alpha=0.8,
              linestyle="")
    axes.axvline(50, color="0.3", linewidth=1)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.set(xlabel="AUC (%), a point a seed, the bar their mean", title=title)
    axes.title.set_fontsize(11)
    axes.grid(axis="x", color="0.92")
    axes.invert_yaxis()
    return figure


def styles(labels):
    """{label: colour and line style}: a colour for each family (the label without its last word), a style within it."""
    families = {}
    for label in labels:
        families.setdefault(label.rsplit(" ", 1)[0], []).append(label)
    return {label: {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[j % len(STYLES)]}
            for i, family in enumerate(families.values()) for j, label in enumerate(family)}


def draw_auc(models, title):
    """AUCs in per cent as bars from the chance line, grouped by model, with 95% intervals: Figure.

    models: {model: {attack: (auc, low, high)}}, fractions; an attack keeps its place and colour in every group.
    """
    figure = Figure(figsize=(max(6, 1.5 + 1.05 * len(models)), 4.2), layout="constrained")
    axes = figure.subplots()
    attacks = [attack for attack in BARS if any(attack in found for found in models.values())]
    width = 0.8 / max(1, len(attacks))
    for i, attack in enumerate(attacks):
        at = [place for place, found in enumerate(models.values()) if attack in found]
        auc, low, high = 100 * np.array([found[attack] for found in models.values() if attack in found]).T
        axes.bar(np.array(at) + (i - (len(attacks) - 1) / 2) * width, auc - 50, width, bottom=50, color=COLOURS[1 + i],
                 label=attack, yerr=(auc - low, high - auc), error_kw={"linewidth": 1, "capsize": 2})
    axes.axhline(50, color="0.3", linewidth=1, label="chance")
    axes.set_xticks(range(len(models)), [short(model).replace(" ", "\n") for model in models])
    axes.set(ylabel="AUC (%)", title=title)
    axes.title.set_fontsize(11)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, ncols=len(attacks) + 1, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    return figure


def read_both(run):
    """({Version: NR values}, {Version: SR values}); CompLeakError, naming the command, where there is neither."""
    nr, sr = read_results(run, "NR"), read_results(run, "SR")
    if not nr and not sr:
        raise CompLeakError(f"nothing to draw yet: run {hints.attacks(run.layout, 'NR', [ORIGINAL])}")
    return nr, sr


def roc_figure(run, read=None):
    """ROC curves of one run: NR on the original, SR2's forest for every version, MR, as far as they are there.

    read: what `read_both` gave, where it was called before.
    """
    return draw_roc(roc_panels(run, read or read_both(run)), f"ROC, {where_from(run)}")


def roc_panels(run, read):
    """{panel's title: ({label: scores [n]}, member [n] bool)} of what `read_both` gave, and of MR."""
    panels, (nr, sr) = {}, read
    if ORIGINAL in nr:
        panels["NR, original"] = saved_scores(run, ORIGINAL, "NR", nr[ORIGINAL], NR_CURVES)
    if sr:
        found = {short(str(version)): saved_scores(run, version, "SR", sr[version], [SR_CURVE]) for version in sr}
        curves = {label: scores[SR_CURVE] for label, (scores, _) in found.items()}
        panels[f"{SR_CURVE}, original and one version"] = curves, next(iter(found.values()))[1]
    try:
        multi = read_multi(run)
        shown = [name for name in multi["attacks"] if name.rsplit(", ", 1)[1] in AGGREGATED]
        scores, member = saved_scores(run, ORIGINAL, "MR", multi, shown)
        curves = {label.removesuffix(" the original"): values for label, values in scores.items()}
        panels["MR, with or without the original"] = curves, member
    except CompLeakError as error:
        print(f"roc.png without MR: {error}")
    return panels


def auc_figure(run, read=None):
    """AUC of three NR attacks on every model, and of SR2's forest with the original, as far as they are there.

    read: what `read_both` gave, where it was called before.
    """
    models = {}
    for results in read or read_both(run):
        for version, result in results.items():
            bars = {name: (metrics["auc"], *metrics["auc_interval"]) for name, metrics in result["attacks"].items()}
            models.setdefault(str(version), {}).update(bars)
    return draw_auc(models, f"AUC with 95% intervals, {where_from(run)}")


def saved_scores(run, version, setting, result, names):
    """({attack: scores [n]}, member [n] bool) of the named attacks that a result holds, from its own scores file."""
    names = [name for name in names if name in result["attacks"]]
    _, member, scores = attack_scores(run, version, setting, names)
    return scores, member


def where_from(run):
    """Data, model and seed of a run, for a title, and its protocol where that is not the sound one."""
    settings = run.settings
    text = f"{settings.data_label}, {run.layout.model}, seed {settings.seed}"
    return text if settings.protocol == protocol.SOUND else f"{text}, protocol {settings.protocol}"


def save(figure, path):
    """Write a figure as PNG, whole or not at all, without a display."""
    FigureCanvasAgg(figure)
    with atomic(path) as beside:
        figure.savefig(beside, format="png", dpi=DPI)


def main(argv=None):
    run = open_run(parser(__doc__).parse_args(argv))
    with locked(run.layout.tables / "figures"):
        read = read_both(run)
        for name, draw in (("roc.png", roc_figure), ("auc.png", auc_figure)):
            save(draw(run, read), run.layout.tables / name)
            print(f"{run.layout.tables / name} written")


if __name__ == "__main__":
    run_command(main)
