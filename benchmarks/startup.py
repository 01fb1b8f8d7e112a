"""Wall time of commands that have nothing to do: from the shell to the last line."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.common import Row, fastest, parse, parser, rounded, save
from common.command import positive, run
from common.errors import CompLeakError

GOAL = 3
ROW = Row("startup", "startup: train.py --help, and train.py where every model is finished",
          f"≤ {GOAL} s each on an idle machine", "python -m benchmarks.startup")
ROOT = Path(__file__).parents[1]
FINISHED = ["--dataset_name", "digits", "--model_name", "resnet18", "--image_size", "8", "--epochs", "1",
            "--train_size", "60", "--query_rows", "scored", "--no-sensitivity", "--device", "cpu"]


def command(arguments, folder):
    """Run train.py in a process of its own; CompLeakError with its last line where it fails."""
    done = subprocess.run([sys.executable, ROOT / "train.py", *arguments], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    if done.returncode:
        raise CompLeakError(f"train.py {' '.join(arguments)} failed: {done.stderr.strip().splitlines()[-1:]}")


def main(argv=None):
    p = parser(__doc__, device=None)
    p.add_argument("--repeats", type=positive(int), default=3, help="repeats, of which the fastest counts (default: 3)")
    args = parse(p, argv, about=("results", "repeats"))
    with tempfile.TemporaryDirectory() as folder:
        # The call that `fastest` does not count trains the models.
        taken = fastest({"help_s": lambda: command(["--help"], folder),
                         "finished_s": lambda: command([*FINISHED, "--run_dir", "run"], folder)}, args.repeats)
    save(ROW, args, torch.device("cpu"),
         f"--help {taken['help_s']:.1f} s, a finished stage {taken['finished_s']:.1f} s", max(taken.values()) <= GOAL,
         rounded(taken), {"repeats": args.repeats})


if __name__ == "__main__":
    run(main)
