"""RMIA's population score against a plain double loop over points and population."""
import numpy as np
import torch

from attacks.rmia import population_score
from benchmarks.common import Row, fastest, parse, parser, rounded, save
from common.command import positive, run

GOAL = 100
ROW = Row("rmia", "RMIA scores, 20,000 points × population of 10,000", f"≥ {GOAL} × a double loop",
          "python -m benchmarks.rmia")


def double_loop(ratio_x, ratio_z):
    """The definition, point by point: share of z with ratio(x) > ratio(z)."""
    scores = []
    for x in ratio_x:
        dominated = 0
        for z in ratio_z:
            dominated += x > z
        scores.append(dominated / len(ratio_z))
    return scores


def main(argv=None):
    p = parser(__doc__, device=None)
    p.add_argument("--points", type=positive(int), default=20_000, help="points to score (default: 20000)")
    p.add_argument("--population", type=positive(int), default=10_000, help="population points (default: 10000)")
    p.add_argument("--looped", type=positive(int), default=400,
                   help="points that the double loop is timed on; its time is scaled to all (default: 400)")
    args = parse(p, argv)
    rng = np.random.default_rng(0)
    x, z = rng.lognormal(0.2, 0.5, args.points), rng.lognormal(0, 0.5, args.population)
    looped = x[: args.looped].tolist(), z.tolist()
    assert double_loop(*looped) == population_score(*looped).tolist(), "both ways give the same scores"
    taken = fastest({"sorted": lambda: population_score(x, z), "loop": lambda: double_loop(*looped)}, 3)
    taken["loop"] *= args.points / len(looped[0])
    ratio = taken["loop"] / taken["sorted"]
    save(ROW, args, torch.device("cpu"),
         f"{ratio:,.0f} × ({1e3 * taken['sorted']:.1f} ms; the loop {taken['loop']:.0f} s, scaled from "
         f"{len(looped[0])} points)", ratio >= GOAL,
         rounded({"ratio": ratio, "sorted_s": taken["sorted"], "double_loop_s": taken["loop"]}),
         {"points": args.points, "population": args.population, "points_looped": len(looped[0])})


if __name__ == "__main__":
    run(main)
