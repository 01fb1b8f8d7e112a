"""The learner's small networks for the nine models, all pairs and all groups of a full-size run, as the attacks ask."""
import tempfile
from pathlib import Path

from attacks.games import signals_of
from attacks.groups import paper_groups
from attacks.inputs import read_version
from attacks.learned import CALIBRATED, CONFIDENCE, features, rows_of
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
    """([(shadow's features, target's features) of each attack], the shadows' `learners.Rows`) of a run's answers."""
    versions, signals = paper_versions(), {}
    for version in versions:
        attacked = read_version(Run(layout), version)
        signals[version] = signals_of(attacked, 0)
    groups = paper_groups().values()
    seen = [*([version] for version in versions), *([ORIGINAL, version] for version in versions[1:]),
            *([ORIGINAL, *group] for group in groups), *groups]
    found = [[features(name, [getattr(signals[version], side) for version in some]) for side in ("shadows", "target")]
             for name in (CONFIDENCE, CALIBRATED) for some in seen]
    return found, rows_of(attacked)


def measure(device, scored=10_000):
    """scored: members, and as many non-members, a world."""
    with tempfile.TemporaryDirectory() as folder:
        sets, rows = learned_sets(write_run(Path(folder), paper_versions(), scored))

    def networks():
        for shadow, target in sets:  # one attack after the other: that is how NR, SR and MR ask
            learn(shadow, rows, target, 0, ["nets"])

    taken = seconds(networks)
    return (f"{taken:.0f} s ({len(sets)} attacks, {taken / len(sets):.1f} s each)", taken <= GOAL, {"all_s": taken},
            {"attacks": len(sets), "scored": scored})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
