"""evaluation/committed.py: the README's figure is what the committed numbers draw, and says nothing else."""
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import t

from common.files import read_json
from evaluation import committed
from evaluation.names import ROWS, SETTINGS, short

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(path):
    return ["".join(element.itertext()) for element in ElementTree.parse(path).iter(TEXT)]


def auc(folder, seed, place, setting, attack):
    path = folder / f"seed_{seed}" / place / f"{setting}.json"
    return json.loads(path.read_text())["attacks"][attack]["auc"]


@pytest.fixture(scope="module")
def drawn(root, tmp_path_factory):
    """A folder with the figures of the committed numbers, drawn now."""
    folder = tmp_path_factory.mktemp("figures")
    committed.main(["--reference", str(root / "results" / "reference"), "--out", str(folder)])
    return folder


@pytest.mark.parametrize("name", ["answer.svg", "released.svg"])
def test_the_committed_figures_are_what_the_committed_numbers_draw(root, drawn, name):
    kept = root / "results" / "reference" / name
    assert texts(kept) == texts(drawn / name) and kept.stat().st_size < 100_000


def test_the_readmes_figure_has_the_best_of_each_setting_and_a_line_at_rmia(root, drawn):
    best = json.loads((root / "results" / "reference" / committed.EQUALS / "claims.json").read_text())["best"]
    shown = texts(drawn / "answer.svg")
    for setting, words in ROWS.items():
        rate = best[setting]["auc"]
        low, high = (100 * end for end in rate["over_seeds"])
        assert words in shown
        assert f"{100 * rate['mean']:.1f} [{low:.1f}, {high:.1f}]" in shown
    assert f"dashed: RMIA on the original, {100 * best['RMIA']['auc']['mean']:.1f}; chance is 50" in shown
    assert f"{len(best['RMIA']['auc']['per_seed'])} targets" in "".join(shown)


def test_the_other_has_every_setting_sound_and_released(root, drawn):
    shown = texts(drawn / "released.svg")
    assert [text for text in shown if text.startswith(("sound, ", "released, "))] == [
        f"{how}, {words}" for words in SETTINGS.values() for how in ("sound", "released")]
    alone = [auc(root / "results" / "reference" / committed.RELEASED, seed, "original", "NR", "RMIA")
             for seed in range(3)]
    assert f"dashed: RMIA on the original, {100 * sum(alone) / 3:.1f}; grey line: chance" in shown


def test_no_attack_of_a_setting_is_above_the_one_that_is_called_strongest(root):
    reference = root / "results" / "reference" / "cifar10-jpeg-5000"
    known = committed.sound(reference)
    assert known["SR", "quantization_int8", "SR2 (RF)"] == [
        auc(reference, seed, "quantization_int8", "SR", "SR2 (RF)") for seed in range(3)]
    for row, setting in zip(committed.strongest(known, "", False), SETTINGS, strict=True):
        best = max(sum(values) / 3 for (of, *_), values in known.items() if of == setting)
        assert row.mean == pytest.approx(best) and row.interval[0] < min(row.per_seed) < best < row.interval[1]


def test_released_numbers_are_the_sound_ones_and_the_changes_that_are_committed(root):
    reference = root / "results" / "reference" / "cifar10-jpeg-5000"
    known = committed.sound(reference)
    found = committed.released(reference, known)
    assert {setting for setting, *_ in found} == set(SETTINGS) and found.keys() <= known.keys()
    for (_, model, attack), values in found.items():
        part = (reference / "ablation.md").read_text().split("## together:")[1].split("## ")[0]
        row = next(line for line in part.splitlines() if f"| {model} | {attack} |" in line)
        before, after = map(float, re.findall(r"([0-9.]+) → ([0-9.]+)", row.split("|")[5])[0])
        sound = known[next(key for key in known if key[1:] == (model, attack))]
        assert 100 * sum(sound) / 3 == pytest.approx(before, abs=0.006), short(attack)
        assert 100 * sum(values) / 3 == pytest.approx(after, abs=0.02)


# The tables of results/README.md on nine models.

TARGETS = ("target", *(f"as_shadow_{i}" for i in range(8)))
VERSIONS = {"60% pruned": "pruning_0.6", "int8": "quantization_int8", "16 centroids": "clustering_16",
            "fine-tuned (control)": "pruning_1e-07"}
JOINT = {"`confidence`": ("confidence",) * 2, "`calibrated`": ("calibrated",) * 2,
         "`LiRA_offline (pooled)`, `joint_LiRA_offline`": ("LiRA_offline (pooled)", "joint_LiRA_offline"),
         "`LiRA_online (pooled)`, `joint_LiRA_online`": ("LiRA_online (pooled)", "joint_LiRA_online"),
         "`LiRA_online (Bayes)`, `joint_LiRA_online (Bayes)`": ("LiRA_online (Bayes)", "joint_LiRA_online (Bayes)")}


@pytest.fixture(scope="module")
def rates(root):
    """rates(setting, version, attack, rate, run) → [9] of the committed targets, per cent."""
    return lambda setting, version, attack, rate="auc", run=committed.EQUALS: 100 * np.array([
        read_json(root / "results/reference" / run / target / version / f"{setting}.json")["attacks"][attack][rate]
        for target in TARGETS])


def rows_of(root, title):
    """{first cell: {column: cell}} of the table of results/README.md whose first line begins so."""
    _, title, rest = (root / "results/README.md").read_text().partition(f"\n| {title} |")
    (_, *columns), _, *split = ([cell.strip() for cell in line.strip("\n| ").split(" | ")]
                                for line in (title + rest).strip().split("\n\n")[0].splitlines())
    return {first: dict(zip(columns, cells, strict=True)) for first, *cells in split}


def in_words(auc, tpr):
    return f"{auc.mean():.2f} ± {auc.std(ddof=1):.2f}, {tpr.mean():.1f}"


def test_the_tables_of_nine_models_are_the_committed_rates(root, rates):
    joint, alone = rows_of(root, "attack | original | + 60% pruned"), rows_of(root, "attack on one model")
    assert joint.keys() == JOINT.keys() and len(alone) == 8
    asked = [(cells, "original", ("NR", "original", one)) for name, cells in joint.items() for one in JOINT[name][:1]]
    for name, cells in joint.items():
        asked.append((cells, "+ all three", ("MR", ".", f"all 3, {JOINT[name][1]} with the original")))
        asked += [(cells, f"+ {words}", ("SR", version, JOINT[name][1])) for words, version in VERSIONS.items()]
    for name, cells in alone.items():
        asked += [(cells, words, ("NR", version, name.strip("`"))) for words, version in
                  {"original": "original", **VERSIONS}.items()]
    for cells, column, key in asked:
        assert cells[column] == in_words(rates(*key), rates(*key, "tpr_1")), key


def test_the_differences_of_nine_models_are_paired_with_students_interval(root, rates):
    bayes, mine = ("NR", "original", "LiRA_online (Bayes)"), "joint_LiRA_online (Bayes)"
    int8, tuned = ("NR", "quantization_int8", "LiRA_online (Bayes)"), ("SR", "pruning_1e-07", mine)
    every, others = (("MR", ".", f"all 3, {mine} {knows} the original") for knows in ("with", "without"))
    three, rmia = ("MR", ".", "all 3, confidence with the original"), ("NR", "original", "RMIA")
    pairs = [(bayes, ("NR", "original", "LiRA_online (pooled)")), (bayes, rmia),
             (("NR", "original", "calibrated"), rmia), (int8, bayes), (("SR", "quantization_int8", mine), bayes),
             (others, bayes), (every, bayes), (every, int8), (every, tuned), (tuned, bayes),
             (three, ("NR", "original", "confidence")), (three, ("SR", "pruning_1e-07", "confidence"))]
    for cells, (one, other) in zip(rows_of(root, "difference").values(), pairs, strict=True):
        for cell, rate in zip(cells.values(), ("auc", "tpr_1"), strict=True):
            each = rates(*one, rate) - rates(*other, rate)
            half = t.isf(0.025, 8) * each.std(ddof=1) / 3
            assert cell == f"{each.mean():+.2f} [{each.mean() - half:+.2f}, {each.mean() + half:+.2f}]"


def test_the_second_run_confirms_the_prior_as_the_page_says(root, rates):
    again, run = rows_of(root, "attack, second run"), "cifar10-jpeg-1000-shared"
    for name, cells in again.items():
        alone, *joint = (words.strip("`") for words in name.split(", "))
        for column, key in (("original", ("NR", "original", alone)),
                            *(("+ 60% pruned", ("SR", "pruning_0.6", one)) for one in joint)):
            assert cells[column] == in_words(rates(*key, run=run), rates(*key, "tpr_1", run))
    for setting, version, ours, plain, words in (
            ("NR", "original", "LiRA_online (Bayes)", "LiRA_online (pooled)", "1.43 [1.28, 1.57]"),
            ("SR", "pruning_0.6", "joint_LiRA_online (Bayes)", "joint_LiRA_online", "3.08 [2.87, 3.30]")):
        each = rates(setting, version, ours, run=run) - rates(setting, version, plain, run=run)
        half = t.isf(0.025, 8) * each.std(ddof=1) / 3
        assert words == f"{each.mean():.2f} [{each.mean() - half:.2f}, {each.mean() + half:.2f}]" and (each > 0).all()
        assert words in (root / "results/README.md").read_text()
