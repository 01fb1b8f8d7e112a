"""evaluation/committed.py: the README's figure is what the committed numbers draw, and says nothing else."""
import json
import re
from xml.etree import ElementTree

import pytest

from evaluation import committed
from evaluation.names import SETTINGS, short

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
    for setting, words in SETTINGS.items():
        rate = best[setting]["auc"]
        low, high = (100 * end for end in rate["over_seeds"])
        assert any(text.startswith(f"{words}: ") for text in shown)
        assert f"{100 * rate['mean']:.1f} [{low:.1f}, {high:.1f}]" in shown
    assert f"dashed: RMIA on the original, {100 * best['RMIA']['auc']['mean']:.1f}; grey line: chance" in shown
    assert f"{len(best['RMIA']['auc']['per_seed'])} targets" in "".join(shown)


def test_the_other_has_every_setting_sound_and_released(root, drawn):
    shown = texts(drawn / "released.svg")
    rows = [text for text in shown if text.startswith(("sound, ", "released, "))]
    assert [row.split(":")[0] for row in rows] == [
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
