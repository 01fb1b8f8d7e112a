"""Wall time of the whole artifact at the appendix's settings, by the one command that makes it."""
import subprocess

from benchmarks.common import Row, cuda_only, parse, parser, save, seconds
from common.command import run
from common.errors import CompLeakError

GOAL = 10
ROW = Row("artifact", "the whole artifact (18 models, queries, 9 × NR, 8 × SR, MR, tables) on one H200-class GPU",
          f"≤ {GOAL} min (stretch 5 min)", "python -m benchmarks.artifact --device cuda")


def main(argv=None):
    p = parser(__doc__)
    p.add_argument("--command", nargs="+", default=["make", "reproduce"],
                   help="what makes the whole artifact from an empty run folder (default: make reproduce)")
    args = parse(p, argv)
    device = cuda_only(args.device, ROW)

    def reproduce():
        code = subprocess.run(args.command).returncode
        if code:
            raise CompLeakError(f"{' '.join(args.command)} ended with exit code {code}: nothing was measured")

    minutes = seconds(reproduce) / 60
    save(ROW, args, device, f"{minutes:.1f} min", minutes <= GOAL, {"minutes": round(minutes, 2)},
         {"command": " ".join(args.command)})


if __name__ == "__main__":
    run(main)
