"""What attacks hold at 200 classes, and with many shadows: NumPy's arrays, from how they grow."""
import gc
import tracemalloc

import pytest

from attacks import classifiers, learners, lira_game, mr, nr, sr
from attacks.games import signals_of
from attacks.inputs import read_version
from attacks.saved import context_of
from benchmarks.made_up import write_run
from common.paths import ORIGINAL, Version
from data.splits import SCORED_AT_MOST
from models.compression import paper_versions
from models.run import Run

CLASSES, SCORED = 200, (60, 120)
PRUNED = Version("pruning", "0.6")
# Of the 2 GB that a process may have; 0.7 are PyTorch and scikit-learn, the rest is what a forest and a network need.
LIMIT = 0.8e9
ATTACKED = {
    "NR": lambda run, context: nr.attack_version(run, ORIGINAL, context, ["SR2_twice (RF)"]),
    "SR, forest": lambda run, context: sr.attack_version(run, PRUNED, context, ["SR2 (RF)"]),
    "SR, logistic": lambda run, context: sr.attack_version(run, PRUNED, context, ["SR2 (LR)"]),
    "MR": lambda run, context: mr.attack_groups(run, context, {"all eight": paper_versions()[1:]},
                                                rows=["calibrated with the original"])}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return [Run(write_run(tmp_path_factory.mktemp("run"), paper_versions(), scored, classes=CLASSES))
            for scored in SCORED]


def peak(attack, run):
    """Bytes of the arrays at the attack's peak."""
    gc.collect()
    tracemalloc.start()
    try:
        attack(run, context_of(run))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ATTACKED)
def test_200_classes_fit_into_two_gigabytes_however_many_rows_are_scored(runs, monkeypatch, name):
    monkeypatch.setattr(classifiers, "TREES", 30)
    monkeypatch.setitem(learners.FITTERS, "nets", learners.FITTERS["logistic"])  # networks of d ≤ 27 inputs hold little
    few, more = (peak(ATTACKED[name], run) for run in runs)
    growth = (more - few) / (SCORED[1] - SCORED[0])
    assert 0.1e9 < growth * SCORED_AT_MOST < LIMIT


def test_many_shadows_cost_a_number_a_picture_and_model(tmp_path):
    """Not one for each world's rows: that grows with the shadows' square, and 64 of them would not fit."""
    held, more = [], []
    for shadows in (4, 4, 16):  # the first warms up what is imported and cached
        folder = tmp_path / f"{len(held)}"
        attacked = read_version(Run(write_run(folder, [], 100, shadow_num=shadows)), ORIGINAL)
        gc.collect()
        tracemalloc.start()
        signals = [signals_of(attacked, 0) for _ in range(2)]
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.reset_peak()
        lira_game.joint("joint_LiRA_offline", signals, attacked.shadow_member)
        more.append(tracemalloc.get_traced_memory()[1] - held[-1])
        tracemalloc.stop()
    assert held[2] < 4 * held[1] and more[2] < 4 * more[1]
