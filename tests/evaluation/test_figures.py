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
from evaluation import figures
from evaluation.names import short
from evaluation.svg import svg
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


def test_roc_has_logarithmic_axes_the_diagonal_and_the_curve():
    scores, member = sample(0)
    (axes,) = figures.draw_roc({"one": ({"attack": scores}, member)}, "title").axes
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
    (axes,) = figures.draw_roc({"one": ({"attack": scores}, member)}, "title").axes
    assert axes.get_xlim()[0] == floor
    assert ("0.1% FPR" in lines(axes)) == resolvable


def test_styles_tell_all_curves_apart():
    labels = [short(str(version)) for version in paper_versions()[1:]]
    styles = figures.styles(labels)
    assert len({tuple(style.values()) for style in styles.values()}) == len(labels)
    assert len({styles[label]["color"] for label in labels[:4]}) == 1
    assert len({style["color"] for style in figures.styles(figures.NR_CURVES).values()}) == len(figures.NR_CURVES)


def test_auc_bars_stand_on_chance_and_keep_their_places():
    models = {"original": {"RMIA": (0.7, 0.69, 0.72)},
              "pruning_0.9": {"RMIA": (0.6, 0.58, 0.61), "SR2 (RF)": (0.45, 0.4, 0.5)}}
    (axes,) = figures.draw_auc(models, "title").axes
    bars = {container.get_label(): container for container in axes.containers if hasattr(container, "patches")}
    tops = {name: [bar.get_y() + bar.get_height() for bar in container] for name, container in bars.items()}
    assert list(tops) == ["RMIA", "SR2 (RF)"]
    np.testing.assert_allclose(tops["RMIA"], [70, 60])
    np.testing.assert_allclose(tops["SR2 (RF)"], [45])
    assert all(bar.get_y() == 50 for container in bars.values() for bar in container)
    first, second = (bar.get_x() for bar in bars["RMIA"])
    assert second - first == pytest.approx(1)
    (segments, *_) = bars["RMIA"].errorbar.lines[2]
    np.testing.assert_allclose([segment[:, 1] for segment in segments.get_segments()], [[69, 72], [58, 61]])
    assert "%" in axes.get_ylabel() and set(lines(axes)["chance"].get_ydata()) == {50}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["original", "pruned\n0.9"]


def test_figures_of_a_run_show_its_scores(make_run):
    run, member = make_run()
    nr, sr, mr = figures.roc_figure(run).axes
    assert set(lines(nr)) == {"chance", *figures.NR_CURVES}
    assert set(lines(sr)) == {"chance", "pruned 90%"}
    assert set(lines(mr)) == {"chance", "pair, with", "pair, without"}
    scores, _ = sample(1, member=member)
    assert member.sum() == 67
    np.testing.assert_array_equal(lines(sr)["pruned 90%"].get_ydata(), np.maximum(roc(scores, member)[1], 1 / 67))
    (axes,) = figures.auc_figure(run).axes
    sr_bar = next(bars for bars in axes.containers if bars.get_label() == "SR2 (RF)")
    assert [bar.get_y() + bar.get_height() for bar in sr_bar] == pytest.approx([100 * auc(scores, member)])


def test_main_writes_png_files_of_a_moderate_size(make_run, tmp_path):
    run, _ = make_run()
    figures.main(["--run_dir", str(tmp_path), "--dataset_name", "digits"])
    assert sorted(path.name for path in run.layout.tables.iterdir()) == ["auc.png", "roc.png"]
    for path in run.layout.tables.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 300_000
        assert np.ptp(matplotlib.image.imread(path)) > 0.5


def test_missing_settings_leave_their_panels_out(make_run, capsys):
    (axes,) = figures.roc_figure(make_run(["NR"])[0]).axes
    assert axes.get_title() == "NR, original"
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3 and "python CompLeakNR.py" in out[0] and "python CompLeakSR.py" in out[1]
    assert "python -m attacks.mr" in out[2]


def test_nothing_attacked_is_one_clear_error(make_run):
    run, _ = make_run([])
    for draw in (figures.roc_figure, figures.auc_figure):
        with pytest.raises(CompLeakError, match="python CompLeakNR.py .*--original$"):
            draw(run)


def test_scores_of_another_run_are_refused(make_run):
    run, member = make_run()
    scores, _ = sample(9, member=member)
    save_arrays(run.layout.result(PRUNED, "SR_scores.npz"), {"setting": "SR"}, index=np.sort(
        run.split.target.evaluation), member=member, **as_arrays({"SR2 (RF)": Scored(scores, scores > 0.5, scores)}))
    with pytest.raises(CompLeakError, match="not made together with SR.json"):
        figures.roc_figure(run)


def test_visible_points_lie_on_the_curve_and_near_every_point_of_it():
    rng = np.random.default_rng(0)
    member = np.arange(20_000) < 10_000
    fpr, tpr = (np.maximum(rate, 1e-4) for rate in figures.roc(rng.normal(size=20_000) + member, member))
    few = np.array(figures.visible(fpr, tpr, 1e-4))
    assert few.shape[1] < 0.1 * len(fpr) and few[:, 0].tolist() == [fpr[0], tpr[0]] and few[:, -1].tolist() == [1, 1]
    assert {tuple(point) for point in few.T} <= set(zip(fpr, tpr, strict=True))
    gaps = [np.abs(np.log(few.T) - np.log([x, y])).max(1).min() for x, y in zip(fpr[::50], tpr[::50], strict=True)]
    assert max(gaps) < -np.log(1e-4) / figures.CELLS


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
    for figure in (figures.draw_seeds(aucs, "three of 0.123456"),
                   figures.draw_roc({"0.25": (curves, member)}, "ROC, 0.8125", bands=True),
                   figures.draw_histogram(scores / 100, member, "SR2 0.375"),
                   figures.draw_auc({"pruning_0.95": {"RMIA": (0.55, 0.54, 0.56)}}, "title 0.123")):
        said.clear()
        page = ElementTree.fromstring(svg(figure))
        shown = ["".join(text.itertext()) for text in page.iter("{http://www.w3.org/2000/svg}text")]
        assert len(shown) > 5 and sorted(shown) == sorted(said)
        coordinates = " ".join(element.get(name, "") for element in page.iter() for name in ("d", "x", "y"))
        assert max(len(number.partition(".")[2]) for number in coordinates.split()) == 1
