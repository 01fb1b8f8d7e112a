"""Wall time of the whole artifact at the appendix's settings, by the one command that makes it."""
import subprocess

from benchmarks.common import Row, command, seconds
from common.errors import CompLeakError

GOAL = 10
ROW = Row("artifact", "the whole artifact (18 models, queries, 9 × NR, 8 × SR, MR, tables) on one H200-class GPU",
          f"≤ {GOAL} min (stretch 5 min)", "python -m benchmarks.artifact --device cuda",
          device="cuda")


def measure(device, command=("make", "reproduce")):
    """command: what makes the whole artifact from an empty run folder."""
    def reproduce():
        code = subprocess.run(command).returncode
        if code:
            raise CompLeakError(f"{' '.join(command)} ended with exit code {code}: nothing was measured")

    minutes = seconds(reproduce) / 60
    return f"{minutes:.1f} min", minutes <= GOAL, {"minutes": round(minutes, 2)}, {"command": " ".join(command)}


if __name__ == "__main__":
    command(__doc__, measure, ROW)
