"""What figures look like: ROC curves, bars, histograms, seeds and the answer, as Figures; one colour an attack."""
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from common.intervals import RESAMPLES, bootstrap_tpr, percentile_interval
from common.metrics import LOW_FPR, RESOLVABLE_NON_MEMBERS, roc
from evaluation.writing import with_interval

# One colour for one attack, after Okabe and Ito's palette; the attacker's best, whichever it is, is black.
COLOURS = {"best": "#000000", "RMIA": "#D55E00", "SR2 RF": "#0072B2", "MR": "#009E73", "train2 RF": "#56B4E9",
           "metric2": "#E69F00", "SAMIA": "#CC79A7", "metric1": "#8C6D31", "train1 RF": "#7F7F7F"}
MEMBERS, NON_MEMBERS = "#B2182B", "#2166AC"  # no attack has these
STYLES = ("-", "--", "-.", ":")
LOWEST = 1e-4
BAND_POINTS = 40
CELLS = 160
TIE = 0.01  # of all rows: so many of one score are drawn as a tie


def attack_of(label):
    """The attack that a label speaks of, in short: "SR2 RF, pruned 60%" → "SR2 RF", "best on one model: …" → "best"."""
    return "best" if label.startswith("best ") else label.split(",")[0]


def styles(labels):
    """{label: colour and line style}: its attack's colour, and among labels of one attack styles, then paler shades."""
    seen, found = {}, {}
    for label in labels:
        attack = attack_of(label)
        place = seen[attack] = seen.get(attack, -1) + 1
        pale = min(0.5 * (place // len(STYLES)), 0.9)
        colour = (1 - pale) * np.array(to_rgb(COLOURS.get(attack, "0.4"))) + pale
        found[label] = {"color": tuple(colour.tolist()), "linestyle": STYLES[place % len(STYLES)]}
    return found


def draw_roc(panels, title, bands=False):
    """ROC curves on logarithmic axes, a panel a setting: Figure.

    panels: {panel's title: ({label: scores [n]}, member [n] bool)}. Axes begin at one non-member, or at 0.01%. bands:
    a pale band around each curve, 95% of the TPR at each FPR, and of the curve only what can be seen, to be small.
    """
    figure = Figure(figsize=(4.7 * len(panels), 5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, (heading, (curves, member)) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(),
                                                 strict=True):
        floor = max(LOWEST, 1 / int((~member).sum()))
        axes.plot([floor, 1], [floor, 1], color="0.6", linewidth=1, label="chance")
        if (~member).sum() >= RESOLVABLE_NON_MEMBERS:
            axes.axvline(LOW_FPR, color="0.6", linewidth=1, linestyle=":", label="0.1% FPR")
        for label, style in styles(curves).items():
            _curve(axes, curves[label], member, floor, label, style, bands)
        axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1), title=heading, aspect="equal",
                 xlabel="false positive rate (fraction)", ylabel="true positive rate (fraction)")
        axes.title.set_fontsize(10)
        axes.grid(color="0.92")
        axes.legend(fontsize=7, labelspacing=0.25, loc="lower right")
    return figure


def _curve(axes, scores, member, floor, label, style, bands):
    """One curve: steps, since no threshold lies between two scores; what is below the floor has no place on the axes.

    Where many rows tie, the two ends are dots, and a dotted line between them is what a coin among the tied gets.
    """
    exact = roc(scores, member)
    tied = ties(*exact, member)
    fpr, tpr = (np.maximum(rate, floor) for rate in exact)
    kept = visible(fpr, tpr, floor) if bands else np.full(len(fpr), True)
    line = [np.insert(rate[kept], np.flatnonzero(tied[kept]), np.nan) for rate in (fpr, tpr)]
    axes.plot(*line, drawstyle="steps-post", linewidth=2 if attack_of(label) == "best" else 1.4, label=label, **style)
    for at in np.flatnonzero(tied & kept):
        along = np.linspace(0, 1, 16) ** 2
        between = [np.maximum(rate[at - 1] + along * (rate[at] - rate[at - 1]), floor) for rate in exact]
        axes.plot(*between, color=style["color"], linewidth=1, linestyle=":", marker="o", markersize=2.5,
                  markevery=[0, len(along) - 1])
    if bands:
        at = np.geomspace(floor, 0.999, BAND_POINTS)
        low, high = (np.maximum(end, floor) for end in band(scores, member, at))
        axes.fill_between(at, low, high, color=style["color"], alpha=0.1, linewidth=0)


def ties(fpr, tpr, member):
    """Of a ROC curve's points [p]: whether it is reached by passing more than TIE of all rows [n] at once, bool [p]."""
    rows = np.diff(fpr) * (~member).sum() + np.diff(tpr) * member.sum()
    return np.append(False, rows > TIE * len(member))


def visible(fpr, tpr, floor):
    """Of a ROC curve's points, from `floor` to 1 on logarithmic axes: whether each can be told from the one before.

    The axes are cut into CELLS steps each; of the points in one cell the first is kept, and the curve's last.
    """
    cells = np.stack([np.floor(CELLS * np.log(rate) / np.log(floor)) for rate in (fpr, tpr)])
    kept = np.append(True, (np.diff(cells) != 0).any(0))
    kept[-1] = True
    return kept


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
    sides = ((member, "members", MEMBERS, "-"), (~member, "non-members", NON_MEMBERS, "--"))
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
    figure = Figure(figsize=(4.7, 1.2 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    values = 100 * np.array(list(rows.values()))
    places = np.arange(len(rows))
    colours = [styles([label])[label]["color"] for label in rows]
    axes.vlines(values.mean(1), places - 0.4, places + 0.4, color=colours, linewidth=2)
    axes.scatter(values, np.broadcast_to(places[:, None], values.shape), s=14, alpha=0.8,
                 color=np.repeat(colours, values.shape[1], axis=0))
    axes.axvline(50, color="0.3", linewidth=1)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=7)
    axes.set(xlabel="AUC (%): a point a seed, a bar their mean", title=title)
    axes.title.set_fontsize(11)
    axes.grid(axis="x", color="0.92")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    return figure


def draw_auc(rows, title, line=None):
    """AUCs in per cent as bars from the chance line with 95% intervals, a group of bars a row: Figure.

    rows: {row: {label: (auc, low, high)}}, fractions; line: (words, AUC) of a line across all rows.
    """
    count = sum(map(len, rows.values()))
    figure = Figure(figsize=(4.7, 1.7 + 0.13 * (count + len(rows))), layout="constrained")
    axes, place, places = figure.subplots(), 0.0, []
    looks = styles(dict.fromkeys(label for found in rows.values() for label in found))
    for found in rows.values():
        places.append(place + (len(found) - 1) / 2)
        for label, rates in found.items():
            auc, low, high = (100 * rate for rate in rates)
            plain = looks[label]["linestyle"] == "-"
            axes.barh(place, auc - 50, 1, left=50, color=looks[label]["color"], alpha=1 if plain else 0.5,
                      hatch=None if plain else "////", edgecolor="white", linewidth=0.4, label=label,
                      xerr=[[auc - low], [high - auc]], error_kw={"linewidth": 1, "capsize": 1.5, "ecolor": "0.5"})
            place += 1
        place += 1
    axes.axvline(50, color="0.3", linewidth=1, label="chance")
    if line:
        axes.axvline(100 * line[1], color=COLOURS[attack_of(line[0])], linewidth=1, linestyle="--", label=line[0])
    axes.set_yticks(places, list(rows), fontsize=8)
    axes.set(xlabel="AUC (%)", ylim=(place - 0.5, -1))
    figure.suptitle(title, fontsize=10)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), fontsize=7, ncols=3, loc="outside lower center", frameon=False)
    return figure


class Row(NamedTuple):
    """A row of the answer's figure: label, which attack it is, AUC with its interval, and each seed's; fractions."""

    label: str
    attack: str
    mean: float
    interval: list
    per_seed: list
    aside: bool = False  # shown hollow: what is asked or trained otherwise


def draw_answer(rows, line, title, note):
    """Rows with intervals, each seed a dot, and a dashed line: Figure. line: (words, AUC); note: what intervals are.

    Words stand above their bars, so that the figure is narrow enough to be read on a phone.
    """
    figure = Figure(figsize=(4.4, 0.85 + 0.54 * len(rows)), layout="constrained")
    figure.suptitle(title, fontsize=10, fontweight="bold")
    axes = figure.subplots()
    chance = min(line[1], *(min(row.interval) for row in rows)) < 0.6
    if chance:
        axes.axvline(50, color="0.6", linewidth=1)
    axes.axvline(100 * line[1], color=COLOURS["RMIA"], linewidth=1.2, linestyle="--")
    for place, row in enumerate(rows):
        mean, (low, high) = 100 * row.mean, 100 * np.array(row.interval)
        colour, marker = ("0.45", "s") if row.aside else (COLOURS["best"], "o")
        axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color=colour, marker=marker, markersize=6,
                      markerfacecolor="white" if row.aside else colour, capsize=3, linewidth=1.6)
        if len(row.per_seed) > 1:
            axes.plot(100 * np.array(row.per_seed), np.full(len(row.per_seed), place + 0.2), ".", color=colour,
                      markersize=3.5)
        for side, above, align, words in ((0, 0.52, "left", row.label), (0, 0.27, "left", row.attack),
                                          (1, 0.52, "right", with_interval(row.mean, row.interval, 1))):
            axes.annotate(words, (side, place - above), xycoords=("axes fraction", "data"), va="center", ha=align,
                          fontsize=8, color="0.35" if words == row.attack else colour,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4}).set_in_layout(False)
    axes.set_title(f"dashed: {line[0]}, {100 * line[1]:.1f}; {'grey line: chance' if chance else 'chance is 50'}",
                   fontsize=8, color=COLOURS["RMIA"])
    axes.set(ylim=(len(rows) - 0.65, -0.7), xlabel=f"AUC (%); {note}", yticks=[])
    axes.xaxis.label.set_fontsize(8)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
