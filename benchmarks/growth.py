"""How the attacks' time grows with the points and with the shadows."""
import time

import numpy as np

from attacks import classifiers
from attacks.samia import train_samia
from benchmarks.common import Row, parse, parser, rounded, save
from benchmarks.nr_sr import measure
from common.command import positive, run
from common.device import choose_device
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
    train_samia(posteriors, sensitivity, rng.integers(10, size=rows), np.arange(rows) % 2 == 0, 0, device, epochs=1,
                progress=False)
    return time.perf_counter() - began


def main(argv=None):
    p = parser(__doc__)
    p.add_argument("--rows", type=positive(int, least=120), nargs="+", default=[5_000, 10_000, 20_000, 40_000],
                   help="rows a world, each twice the one before (default: 5000 10000 20000 40000)")
    p.add_argument("--shadows", type=positive(int), nargs="+", default=[1, 2, 4, 8],
                   help="shadows (default: 1 2 4 8)")
    p.add_argument("--trees", type=positive(int), default=50,
                   help="trees a forest, which change no ratio of forests (default: 50; attacks use 500)")
    args = parse(p, argv)
    device = choose_device(args.device)
    # A run scores 20,000 rows a world at most, and its forests have more trees.
    usual, classifiers.TREES = (classifiers.TREES, splits.SCORED_AT_MOST), args.trees
    splits.SCORED_AT_MOST = max(args.rows) // 2
    try:
        samia_epoch(args.rows[0], device)
        by_rows = {n: {**measure(PRUNED, n // 2, device), "SAMIA": samia_epoch(n, device)} for n in args.rows}
        by_shadows = {k: measure(PRUNED, args.rows[0] // 2, device, k)["all"] for k in args.shadows}
    finally:
        classifiers.TREES, splits.SCORED_AT_MOST = usual
    doubled = {f"{n} → {m} rows": {stage: by_rows[m][stage] / some for stage, some in by_rows[n].items()
                                   if by_rows[m][stage] >= SMALL}
               for n, m in zip(args.rows, args.rows[1:], strict=False)}
    each = {k: some / by_shadows[args.shadows[0]] * args.shadows[0] / k for k, some in by_shadows.items()}
    ratios = [ratio for stages in doubled.values() for ratio in stages.values()]  # none where all stages are too short
    worst = max(ratios, default=0.0)
    text = "; ".join(f"{step}: " + ", ".join(f"{stage} {ratio:.2f} ×" for stage, ratio in stages.items())
                     for step, stages in doubled.items())
    text += "; shadows: " + ", ".join(f"{k}: {k * ratio:.2f} ×" for k, ratio in each.items())
    save(ROW, args, device, text, bool(ratios) and worst <= GOAL and max(each.values()) <= 1.1,
         {"seconds_by_rows": {n: rounded(some) for n, some in by_rows.items()}, "worst_doubling": round(worst, 3),
          "seconds_by_shadows": rounded(by_shadows)},
         {"trees": args.trees, "samia_epochs": 1, "shadows_at_rows": args.rows[0], "stages_shown_from_s": SMALL})


if __name__ == "__main__":
    run(main)
