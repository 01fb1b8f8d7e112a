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


def test_the_committed_figure_is_what_the_committed_numbers_draw(root, tmp_path):
    reference, kept = (root / "results" / "reference" / name for name in ("cifar10-jpeg-5000", "answer.svg"))
    committed.main(["--reference", str(reference), "--out", str(tmp_path / "answer.svg")])
    shown = texts(kept)
    assert shown == texts(tmp_path / "answer.svg") and kept.stat().st_size < 100_000
    rows = [text for text in shown if text.startswith(("sound, ", "released, "))]
    assert [row.split(":")[0] for row in rows] == [
        f"{how}, {words}" for words in SETTINGS.values() for how in ("sound", "released")]
    alone = [auc(reference, seed, "original", "NR", "RMIA") for seed in range(3)]
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
