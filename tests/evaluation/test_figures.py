"""evaluation/figures.py: what the figures draw, read back from the Figure objects, and the PNG files."""
import re
from itertools import product
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_svg import RendererSVG

from attacks.attack import Scored
from attacks.results import as_arrays
from common.errors import CompLeakError
from common.files import save_arrays, write_json
from common.metrics import auc, roc, tpr_at_fpr
from common.paths import ORIGINAL, Layout, Version
from data.splits import make_split, to_json
from evaluation import claims, drawing, figures
from evaluation.evidence import read
from evaluation.names import SETTINGS, short
from models.compression import paper_versions
from models.run import Run, Settings

PRUNED, CLUSTERED = Version("pruning", "0.9"), Version("clustering", "4")


def sample(seed, n=2000, shift=1.0, member=None):
    """(scores, member) of these points, by default n members and then as many non-members."""
    member = np.arange(2 * n) < n if member is None else member
    return np.random.default_rng(seed).normal(size=len(member)) + shift * member, member


@pytest.fixture
def make_run(made_up, tmp_path):
    """make(settings) → (Run with made-up scores of the original and a pruned version, and real metrics; member)."""

    def make(settings=("NR", "SR", "MR")):
        run, split = Run(Layout(tmp_path, "digits", "resnet18")), make_split(400, 0)
        made = Settings(data_label="toys", classes=("0", "1"), train_size=split.train_size)
        write_json(run.path, {"run": made.as_json(), **to_json(split)})
        rng, member = np.random.default_rng(0), np.isin(np.sort(split.target.evaluation), split.target.members)
        for version, world in product((ORIGINAL, PRUNED, CLUSTERED), split.worlds):
            made_up.answers(run.layout, version, world, split, rng.integers(2, size=400), 0.0, 2, rng)
        jobs = [("NR", ORIGINAL, figures.NR_CURVES, None), ("NR", PRUNED, ["RMIA", "train_based_2 (RF)"], None),
                ("SR", PRUNED, ["SR1 (RF)", "SR2 (RF)"], None),
                ("MR", ORIGINAL, ["pair, with the original", "pair, without the original"], {"pair": [PRUNED]})]
        for setting, version, names, groups in jobs:
            if setting in settings:
                scores = {name: sample(i, member=member)[0] for i, name in enumerate(names)}
                made_up.scores(run, version, setting, {name: (one, one > 0.5) for name, one in scores.items()}, groups)
        return run, member

    return make


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def labelled(axes):
    """The labels of the curves that a legend names."""
    return [label for label in lines(axes) if not label.startswith("_")]


def test_roc_has_logarithmic_axes_the_diagonal_and_the_curve():
    scores, member = sample(0)
    (axes,) = drawing.draw_roc({"one": ({"attack": scores}, member)}, "title").axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlim() == axes.get_ylim() == (1 / 2000, 1)
    assert "false positive rate" in axes.get_xlabel() and "true positive rate" in axes.get_ylabel()
    drawn = lines(axes)
    np.testing.assert_array_equal(*drawn["chance"].get_data())
    assert set(drawn["0.1% FPR"].get_xdata()) == {0.001}
    curve = drawn["attack"]
    fpr, tpr = roc(scores, member)
    seen = fpr >= 1 / 2000
    np.testing.assert_array_equal(curve.get_xdata()[seen], fpr[seen])
    np.testing.assert_array_equal(curve.get_ydata()[seen], np.maximum(tpr[seen], 1 / 2000))
    assert curve.get_drawstyle() == "steps-post"
    assert curve.get_ydata()[curve.get_xdata() <= 0.001].max() == tpr_at_fpr(scores, member)


@pytest.mark.parametrize(("n", "floor", "resolvable"), [(50, 1 / 50, False), (1000, 1e-3, True), (20_000, 1e-4, True)])
def test_roc_axes_begin_where_the_data_do(n, floor, resolvable):
    scores, member = sample(1, n)
    (axes,) = drawing.draw_roc({"one": ({"attack": scores}, member)}, "title").axes
    assert axes.get_xlim()[0] == floor
    assert ("0.1% FPR" in lines(axes)) == resolvable


def test_an_attack_has_one_colour_everywhere_and_styles_tell_all_curves_apart():
    labels = [f"SR2 RF, {short(str(version))}" for version in paper_versions()[1:]]
    looks = drawing.styles(["RMIA, original alone", *labels, "best on one model: x", "best with several: y"])
    assert len({tuple(look.values()) for look in looks.values()}) == len(looks)
    assert [looks["RMIA, original alone"]] == list(drawing.styles(["RMIA, original"]).values())
    assert len({looks[label]["color"] for label in labels[:4]}) == 1
    assert looks["best on one model: x"]["color"] == looks["best with several: y"]["color"] == (0, 0, 0)
    drawn = [short(name) for name in (*figures.NR_CURVES, *figures.BARS)] + ["MR", "best"]
    assert len({drawing.COLOURS[name] for name in drawn}) == len(set(drawn)) == len(drawing.COLOURS)


def test_auc_bars_stand_on_chance_beside_a_line():
    rows = {"original": {"RMIA": (0.7, 0.69, 0.72)},
            "pruned 90%": {"RMIA": (0.6, 0.58, 0.61), "SR2 RF": (0.45, 0.4, 0.5)}}
    (axes,) = drawing.draw_auc(rows, "title", ("RMIA, original alone", 0.7)).axes
    bars = [container for container in axes.containers if hasattr(container, "patches")]
    assert [container.get_label() for container in bars] == ["RMIA", "RMIA", "SR2 RF"]
    np.testing.assert_allclose([bar.get_x() + bar.get_width() for container in bars for bar in container], [70, 60, 45])
    assert all(bar.get_x() == 50 for container in bars for bar in container)
    assert bars[0][0].get_facecolor()[:3] == bars[1][0].get_facecolor()[:3] != bars[2][0].get_facecolor()[:3]
    (segment,) = bars[0].errorbar.lines[2][0].get_segments()
    np.testing.assert_allclose(segment[:, 0], [69, 72])
    assert set(lines(axes)["chance"].get_xdata()) == {50} and "%" in axes.get_xlabel()
    np.testing.assert_allclose(lines(axes)["RMIA, original alone"].get_xdata(), 70)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(rows)


def test_many_rows_of_one_score_are_drawn_as_a_tie():
    member = np.arange(2000) < 1000
    scores = np.arange(2000) % 1000 + 0.5 * member
    scores[np.r_[300:600, 1300:1500]] = 400
    (axes,) = drawing.draw_roc({"one": ({"attack": scores}, member)}, "title").axes
    (tie,) = [line for line in axes.lines if line.get_linestyle() == ":" and line.get_label().startswith("_")]
    np.testing.assert_allclose([tie.get_xdata()[[0, -1]], tie.get_ydata()[[0, -1]]], [[0.5, 0.7], [0.4, 0.7]])
    np.testing.assert_allclose(np.diff(tie.get_ydata()) / np.diff(tie.get_xdata()), 1.5)
    curve = lines(axes)["attack"]
    assert np.isnan(curve.get_xdata()).sum() == 1
    broken = np.flatnonzero(np.isnan(curve.get_xdata()))[0]
    assert (curve.get_xdata()[broken - 1], curve.get_xdata()[broken + 1]) == (0.5, 0.7)


def test_rows_of_the_answer_show_mean_interval_and_seeds():
    rows = [drawing.Row("on one model", "RMIA on int8", 0.65, [0.6, 0.7], [0.63, 0.67]),
            drawing.Row("released", "SR2 RF", 0.85, [0.84, 0.86], [0.85], True)]
    (axes,) = drawing.draw_answer(rows, ("RMIA on the original", 0.64), "title", "bars").axes
    words = [text.get_text() for text in axes.texts]
    assert words == ["on one model", "RMIA on int8", "65.0 [60.0, 70.0]",
                     "released", "SR2 RF", "85.0 [84.0, 86.0]"]
    assert "RMIA on the original, 64.0" in axes.get_title()
    np.testing.assert_allclose([line.get_xdata() for line in axes.lines if line.get_marker() == "."], [[63, 67]])


def test_figures_of_a_run_show_its_scores(make_run):
    run, member = make_run()
    found = read(run)
    nr, sr, mr = figures.roc_figure(found, None).axes
    assert set(labelled(nr)) == {"chance", *(f"{short(name)}, original" for name in figures.NR_CURVES)}
    assert set(labelled(sr)) == {"chance", figures.ALONE, "SR2 RF, pruned 90%"}
    assert set(labelled(mr)) == {"chance", figures.ALONE, "MR, pair, with", "MR, pair, without"}
    scores, _ = sample(1, member=member)
    assert member.sum() == 67
    curve = lines(sr)["SR2 RF, pruned 90%"].get_ydata()
    np.testing.assert_array_equal(curve[~np.isnan(curve)], np.maximum(roc(scores, member)[1], 1 / 67))
    (axes,) = figures.auc_figure(found, None).axes
    (bar,) = next(bars for bars in axes.containers if bars.get_label() == "SR2 RF")
    assert bar.get_x() + bar.get_width() == pytest.approx(100 * auc(scores, member))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["original", "pruned 90%", "pair"]


def test_the_attackers_best_stands_in_every_panel_and_in_the_bars(tmp_path, scored_run):
    run = scored_run(tmp_path, versions=(ORIGINAL, PRUNED, CLUSTERED))
    claims.main(["--run_dir", str(tmp_path), "--dataset_name", "digits"])
    both = read(run), claims.judged(run)
    best, panels = both[1]["best"], figures.roc_figure(*both).axes
    nr, sr, mr = map(labelled, panels)
    of = {setting: f"best {words}: {short(best['chosen'][0][setting]['attack'].removeprefix('MR of '))}"
          for setting, words in SETTINGS.items()}
    assert of["NR"] in nr and {of["NR"], of["SR"]} <= set(sr) and {of["NR"], of["MR"]} <= set(mr)
    curve = lines(panels[1])[of["SR"]]
    assert tuple(curve.get_color()) == (0, 0, 0)
    rows = [tick.get_text() for tick in figures.auc_figure(*both).axes[0].get_yticklabels()]
    assert rows[-3:] == [f"best {words}" for words in SETTINGS.values()]


def test_main_writes_png_files_of_a_moderate_size(make_run, tmp_path):
    run, _ = make_run()
    figures.main(["--run_dir", str(tmp_path), "--dataset_name", "digits"])
    assert sorted(path.name for path in run.layout.tables.iterdir()) == ["auc.png", "roc.png"]
    for path in run.layout.tables.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 300_000
        assert np.ptp(matplotlib.image.imread(path)) > 0.5


def test_missing_settings_leave_their_panels_out(make_run, capsys):
    (axes,) = figures.roc_figure(read(make_run(["NR"])[0]), None).axes
    assert axes.get_title() == "NR: the original"
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3 and "python CompLeakNR.py" in out[0] and "python CompLeakSR.py" in out[1]
    assert "python -m attacks.mr" in out[2]


def test_nothing_attacked_is_one_clear_error(make_run, tmp_path):
    make_run([])
    with pytest.raises(CompLeakError, match="python CompLeakNR.py .*--original$"):
        figures.main(["--run_dir", str(tmp_path), "--dataset_name", "digits"])


def test_scores_of_another_run_are_refused(make_run):
    run, member = make_run()
    scores, _ = sample(9, member=member)
    save_arrays(run.layout.result(PRUNED, "SR_scores.npz"), {"setting": "SR"}, index=np.sort(
        run.split.target.evaluation), member=member, **as_arrays({"SR2 (RF)": Scored(scores, scores > 0.5, scores)}))
    with pytest.raises(CompLeakError, match="not made together with SR.json"):
        read(run)


def test_visible_points_lie_on_the_curve_and_near_every_point_of_it():
    rng = np.random.default_rng(0)
    member = np.arange(20_000) < 10_000
    fpr, tpr = (np.maximum(rate, 1e-4) for rate in roc(rng.normal(size=20_000) + member, member))
    kept = drawing.visible(fpr, tpr, 1e-4)
    few = np.array([fpr[kept], tpr[kept]])
    assert few.shape[1] < 0.1 * len(fpr) and few[:, 0].tolist() == [fpr[0], tpr[0]] and few[:, -1].tolist() == [1, 1]
    assert {tuple(point) for point in few.T} <= set(zip(fpr, tpr, strict=True))
    gaps = [np.abs(np.log(few.T) - np.log([x, y])).max(1).min() for x, y in zip(fpr[::50], tpr[::50], strict=True)]
    assert max(gaps) < -np.log(1e-4) / drawing.CELLS


def test_an_svg_says_what_was_drawn_and_shortens_coordinates_alone(monkeypatch):
    said, draw = [], RendererSVG.draw_text

    def recorded(self, gc, x, y, s, *rest, **more):
        power = re.sub(r"\$\\mathdefault{10\^{(.*)}}\$", r"10\1", s).replace("-", "\N{MINUS SIGN}")
        said.append(power if "mathdefault" in s else s)
        draw(self, gc, x, y, s, *rest, **more)

    monkeypatch.setattr(RendererSVG, "draw_text", recorded)
    scores, member = sample(0)
    aucs = {"pruned 95%": [0.4996, 0.5003], "at x=\"0.125\" & <b>  0.0625": [0.4998, 0.5001]}
    curves = {"pruned 95%": scores, "x 1.875": -scores}
    for figure in (drawing.draw_seeds(aucs, "three of 0.123456"),
                   drawing.draw_roc({"0.25": (curves, member)}, "ROC, 0.8125", bands=True),
                   drawing.draw_histogram(scores / 100, member, "SR2 0.375"),
                   drawing.draw_auc({"pruned 95%": {"RMIA": (0.55, 0.54, 0.56)}}, "title 0.123")):
        said.clear()
        page = ElementTree.fromstring(figures.svg(figure))
        shown = ["".join(text.itertext()) for text in page.iter("{http://www.w3.org/2000/svg}text")]
        assert len(shown) > 5 and sorted(shown) == sorted(said)
        coordinates = " ".join(element.get(name, "") for element in page.iter() for name in ("d", "x", "y"))
        assert max(len(number.partition(".")[2]) for number in coordinates.split()) == 1
