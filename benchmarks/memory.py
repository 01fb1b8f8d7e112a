"""Peak memory of NR, SR and SAMIA on data sets of many classes, on made-up answers."""
import contextlib
import io
import resource
import tempfile
from pathlib import Path

import numpy as np
import torch

from attacks import classifiers
from attacks.samia import samia_score, train_samia
from benchmarks.common import Row, command, output_of
from benchmarks.made_up import write_run
from benchmarks.nr_sr import commands
from common.paths import Layout, Version

GOAL = 2.0
ROW = Row("memory", "peak memory of the attacks on one version, 10,000 + 10,000 points, 100 and 200 classes",
          f"≤ {GOAL:.0f} GB of one process, PyTorch included", "python -m benchmarks.memory")
PRUNED = [Version("pruning", "0.6")]


def attack(folder, classes, rows, trees):
    """NR and SR of the run in a folder, and an epoch of SAMIA with its scores; prints this process's peak in GB."""
    classifiers.TREES, cpu = trees, torch.device("cpu")
    with contextlib.redirect_stdout(io.StringIO()):
        for command, argv in commands(Layout(Path(folder), "cifar10", "resnet18"), PRUNED, cpu):
            command(argv)
    rng = np.random.default_rng(0)
    posteriors, sensitivity = (rng.random((rows, classes), dtype=np.float32) for _ in range(2))
    labels = rng.integers(classes, size=rows)
    few = slice(min(rows, 512))  # a step needs no more however many there are
    network = train_samia(posteriors[few], sensitivity[few], labels[few], np.arange(rows)[few] % 2 == 0, 0, cpu, 1)
    samia_score(network, posteriors, sensitivity, labels)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def peak(classes, scored, trees):
    """Highest memory in GB of a process that attacks one version, on answers that another process made up."""
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder), PRUNED, scored, classes=classes)
        code = f"from benchmarks.memory import attack; attack({folder!r}, {classes}, {2 * scored}, {trees})"
        return float(output_of("-c", code))


def measure(device, classes=(100, 200), scored=10_000, trees=classifiers.TREES):
    """classes: numbers of them; scored: members, and as many non-members, a world; trees a forest."""
    peaks = {number: peak(number, scored, trees) for number in classes}
    return (", ".join(f"{some:.2f} GB ({number})" for number, some in peaks.items()), max(peaks.values()) <= GOAL,
            {f"{number}_classes_gb": some for number, some in peaks.items()}, {"scored": scored, "trees": trees})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
