"""attacks/results.py: what an older version wrote is made again, never misread."""
import numpy as np
import pytest

from attacks import results
from attacks.saved import read_current
from common.paths import ORIGINAL, Layout


@pytest.fixture
def saved(tmp_path):
    """(Layout, inputs) of a run with one attack's result."""
    layout, inputs = Layout(tmp_path, "digits", "resnet18"), {"setting": "NR", "version": "original", "weights": ["w"]}
    scores, member = np.random.default_rng(0).normal(size=400), np.arange(400) < 200
    results.save(layout.result(ORIGINAL, "NR.json"), layout.result(ORIGINAL, "NR_scores.npz"), inputs,
                 results.evaluate_all({"RMIA": (scores, scores > 0)}, member, 0), {"member": member, "RMIA": scores})
    return layout, inputs


def test_a_result_of_this_version_is_found(saved):
    layout, inputs = saved
    found = results.finished(layout.result(ORIGINAL, "NR.json"), inputs)
    assert found == read_current(layout, ORIGINAL, "NR.json", "the command") and "tpr_1" in found["attacks"]["RMIA"]
    assert results.finished(layout.result(ORIGINAL, "NR.json"), {**inputs, "weights": ["others"]}) is None


def test_a_result_of_format_1_is_made_again(saved, edit_json):
    layout, inputs = saved
    edit_json(layout.result(ORIGINAL, "NR.json"), format=1)
    assert results.finished(layout.result(ORIGINAL, "NR.json"), inputs) is None
    assert read_current(layout, ORIGINAL, "NR.json", "the command") is None
