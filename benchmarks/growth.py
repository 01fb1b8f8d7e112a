"""How the attacks' time grows with the points and with the shadows."""
import time

import numpy as np

from attacks import classifiers
from attacks.samia import train_samia
from benchmarks.common import Row, command
from benchmarks.nr_sr import measure_stages
from common.paths import Version
from data import splits

GOAL, SMALL = 2.2, 0.5
ROW = Row("growth", "growth of NR + SR with the points, 5,000 to 40,000 rows a world, and with 1, 2, 4, 8 shadows",
          f"twice the points at most {GOAL} × the time, k shadows k ×", "python -m benchmarks.growth")
PRUNED = [Version("pruning", "0.6")]


def samia_epoch(rows, device):
    """Seconds of one epoch of SAMIA on so many rows."""
    rng = np.random.default_rng(0)
    posteriors, sensitivity = rng.dirichlet(np.ones(10), rows), rng.random((rows, 10))
    began = time.perf_counter()
    train_samia(posteriors, sensitivity, rng.integers(10, size=rows), np.arange(rows) % 2 == 0, 0, device, epochs=1)
    return time.perf_counter() - began


def measure(device, rows=(5_000, 10_000, 20_000, 40_000), shadows=(1, 2, 4, 8), trees=50):
    """rows a world, each twice the one before; trees a forest, of the attacks' 500: they change no ratio of forests."""
    # A run scores 20,000 rows a world at most, and its forests have more trees.
    usual, classifiers.TREES = (classifiers.TREES, splits.SCORED_AT_MOST), trees
    splits.SCORED_AT_MOST = max(rows) // 2
    try:
        samia_epoch(rows[0], device)
        by_rows = {n: {**measure_stages(PRUNED, n // 2, device), "SAMIA": samia_epoch(n, device)} for n in rows}
        by_shadows = {k: measure_stages(PRUNED, rows[0] // 2, device, k)["all"] for k in shadows}
    finally:
        classifiers.TREES, splits.SCORED_AT_MOST = usual
    doubled = {f"{n} → {m} rows": {stage: by_rows[m][stage] / some for stage, some in by_rows[n].items()
                                   if by_rows[m][stage] >= SMALL}
               for n, m in zip(rows, rows[1:], strict=False)}
    each = {k: some / by_shadows[shadows[0]] * shadows[0] / k for k, some in by_shadows.items()}
    ratios = [ratio for stages in doubled.values() for ratio in stages.values()]  # none where all stages are too short
    worst = max(ratios, default=0.0)
    text = "; ".join(f"{step}: " + ", ".join(f"{stage} {ratio:.2f} ×" for stage, ratio in stages.items())
                     for step, stages in doubled.items())
    text += "; shadows: " + ", ".join(f"{k}: {k * ratio:.2f} ×" for k, ratio in each.items())
    return (text, bool(ratios) and worst <= GOAL and max(each.values()) <= 1.1,
            {"seconds_by_rows": by_rows, "worst_doubling": worst, "seconds_by_shadows": by_shadows},
            {"trees": trees, "samia_epochs": 1, "shadows_at_rows": rows[0], "stages_shown_from_s": SMALL})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
