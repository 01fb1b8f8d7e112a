"""The learner's small networks for the nine models, all pairs and all groups of a full-size run, as the attacks ask."""
import tempfile
from pathlib import Path

from attacks.calibrated import mr_sets, nr_sets, sr_sets
from attacks.games import signals_of
from attacks.groups import paper_groups
from attacks.inputs import read_version
from attacks.learned import rows_of
from attacks.learners import learn
from benchmarks.common import Row, command, seconds
from benchmarks.made_up import write_run
from common.paths import ORIGINAL
from models.compression import paper_versions
from models.run import Run

GOAL = 240
ROW = Row("learned", "the learner's networks: confidence and calibrated of nine models, eight pairs, four groups with "
          "and without the original; 20,000 rows a world", f"≤ {GOAL} s on 2 CPU cores", "python -m benchmarks.learned")


def learned_sets(layout):
    """([(shadow's features, target's features) of each attack], the shadows' `learned.Rows`) of a run's answers."""
    versions, signals = paper_versions(), {}
    for version in versions:
        attacked = read_version(Run(layout), version)
        signals[version] = signals_of(attacked, 0)
    groups, found = paper_groups(), []
    for known in (False, True):
        sides = []
        for side in ("shadows", "target"):
            phi = {version: getattr(one, side).phi for version, one in signals.items()}
            reference = {version: getattr(one, side).reference for version, one in signals.items()} if known else None
            sides.append([*nr_sets(phi, reference).values(), *sr_sets(phi, ORIGINAL, reference).values(),
                          *mr_sets(phi, ORIGINAL, groups, reference).values()])
        found += zip(*sides, strict=True)
    return found, rows_of(attacked)


def measure(device, scored=10_000):
    """scored: members, and as many non-members, a world."""
    with tempfile.TemporaryDirectory() as folder:
        sets, rows = learned_sets(write_run(Path(folder), paper_versions(), scored))

    def networks():
        for shadow, target in sets:  # one attack after the other: that is how NR, SR and MR ask
            learn({"one": shadow}, rows.member, {"one": target}, 0, rows.groups, ["nets"], twins=rows.twins)

    taken = seconds(networks)
    return (f"{taken:.0f} s ({len(sets)} attacks, {taken / len(sets):.1f} s each)", taken <= GOAL, {"all_s": taken},
            {"attacks": len(sets), "scored": scored})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
