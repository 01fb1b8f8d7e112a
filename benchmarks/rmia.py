"""RMIA's population score against a plain double loop over points and population."""
import numpy as np

from attacks.rmia import population_score
from benchmarks.common import Row, command, fastest

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


def measure(device, points=20_000, population=10_000, looped=400):
    """looped: points that the double loop is timed on; its time is scaled to all."""
    rng = np.random.default_rng(0)
    x, z = rng.lognormal(0.2, 0.5, points), rng.lognormal(0, 0.5, population)
    few = x[: looped].tolist(), z.tolist()
    assert double_loop(*few) == population_score(*few).tolist(), "both ways give the same scores"
    taken = fastest({"sorted": lambda: population_score(x, z), "loop": lambda: double_loop(*few)}, 3)
    taken["loop"] *= points / looped
    ratio = taken["loop"] / taken["sorted"]
    text = (f"{ratio:,.0f} × ({1e3 * taken['sorted']:.1f} ms; the loop {taken['loop']:.0f} s, scaled from {looped} "
            "points)")
    return (text, ratio >= GOAL, {"ratio": ratio, "sorted_s": taken["sorted"], "double_loop_s": taken["loop"]},
            {"points": points, "population": population, "points_looped": looped})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
