"""Peak memory of NR, SR, MR and SAMIA on data sets of many classes, on made-up answers."""
import contextlib
import io
import re
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from attacks import classifiers, learners, mr, mr_network
from attacks.samia import samia_score, train_samia
from attacks.saved import context_of
from benchmarks.common import Row, command, output_of
from benchmarks.made_up import write_run
from benchmarks.nr_sr import commands
from common.paths import Layout, Version
from models.run import Run

GOAL = 2.0
TREES = 50  # a tree has 2 · 20,000 / 30 nodes of 80 bytes at most, so the attacks' 500 take 48 MB more
ROW = Row("memory",
          f"peak memory of NR, SR, MR and SAMIA on a version, 10,000 + 10,000 points, 200 classes, {TREES} trees",
          f"≤ {GOAL:.0f} GB of one process, PyTorch included", "python -m benchmarks.memory")
PRUNED = [Version("pruning", "0.6")]


def attack(folder, classes, rows, trees):
    """NR, SR and MR of the run in a folder, and SAMIA with its scores, every network trained for an epoch, since more
    hold no more; prints this process's peak in GB."""
    classifiers.TREES, cpu = trees, torch.device("cpu")
    learners.train_and_score = partial(learners.train_and_score, epochs=1)
    mr_network.train_multi = partial(mr_network.train_multi, epochs=1)
    layout = Layout(Path(folder), "cifar10", "resnet18")
    with contextlib.redirect_stdout(io.StringIO()):
        for command, argv in commands(layout, PRUNED, cpu):
            command(argv)
        run = Run(layout)
        mr.attack_groups(run, context_of(run), {"pruned": PRUNED})
    rng = np.random.default_rng(0)
    posteriors, sensitivity = (rng.random((rows, classes), dtype=np.float32) for _ in range(2))
    labels = rng.integers(classes, size=rows)
    few = slice(min(rows, 512))  # a step needs no more however many there are
    network = train_samia(posteriors[few], sensitivity[few], labels[few], np.arange(rows)[few] % 2 == 0, 0, cpu, 1)
    samia_score(network, posteriors, sensitivity, labels)
    print(highest())


def highest():
    """Highest memory in GB of this process so far, as Linux says; `getrusage` counts what its parent had before it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))[1]) * 1024 / 1e9


def peak(classes, scored, trees):
    """Highest memory in GB of a process that attacks one version, on answers that another process made up."""
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder), PRUNED, scored, classes=classes)
        code = f"from benchmarks.memory import attack; attack({folder!r}, {classes}, {2 * scored}, {trees})"
        return float(output_of("-c", code))


def measure(device, classes=(200,), scored=10_000, trees=TREES):
    """classes: numbers of them; scored: members, and as many non-members, a world; trees a forest."""
    peaks = {number: peak(number, scored, trees) for number in classes}
    return (", ".join(f"{some:.2f} GB ({number})" for number, some in peaks.items()), max(peaks.values()) <= GOAL,
            {f"{number}_classes_gb": some for number, some in peaks.items()}, {"scored": scored, "trees": trees})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
