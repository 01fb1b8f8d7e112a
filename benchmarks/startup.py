"""Wall time of commands that have nothing to do: from the shell to the last line."""
import os
import tempfile
from pathlib import Path

from benchmarks.common import Row, command, fastest, output_of

GOAL = 3
ROW = Row("startup", "startup: train.py --help, and train.py where every model is finished",
          f"≤ {GOAL} s each on an idle machine", "python -m benchmarks.startup")
ROOT = Path(__file__).parents[1]
FINISHED = ["--dataset_name", "digits", "--model_name", "resnet18", "--image_size", "8", "--epochs", "1",
            "--train_size", "60", "--query_rows", "scored", "--no-sensitivity", "--device", "cpu"]


def train(arguments, folder):
    """Run train.py in a process of its own."""
    output_of(str(ROOT / "train.py"), *arguments, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})


def measure(device, repeats=3):
    """repeats: the fastest counts."""
    with tempfile.TemporaryDirectory() as folder:
        # The call that `fastest` does not count trains the models.
        taken = fastest({"help_s": lambda: train(["--help"], folder),
                         "finished_s": lambda: train([*FINISHED, "--run_dir", "run"], folder)}, repeats)
    return (f"--help {taken['help_s']:.1f} s, a finished stage {taken['finished_s']:.1f} s",
            max(taken.values()) <= GOAL, taken, {"repeats": repeats})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
