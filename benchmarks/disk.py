"""Disk of one complete run: a run's folder as it is, or what all its files come to, written out and weighed."""
import tempfile
from pathlib import Path

import torch

from benchmarks.common import Row, parse, parser, save
from benchmarks.made_up import write_run
from benchmarks.training import new_model
from common.command import positive, run
from common.errors import UsageError
from common.paths import ORIGINAL
from models.compression import TECHNIQUES, paper_versions
from models.weights import save_weights

GOAL = 1e9
ROW = Row("disk", "disk of one complete run: 18 models, their queries and sensitivities", "≤ 1 GB",
          "python -m benchmarks.disk")


def size(folder):
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def packed(version):
    """The tensors that one version of an untrained ResNet-18 is saved as: training changes values, not their number."""
    model = new_model(torch.device("cpu"))
    if version == ORIGINAL:
        return model.state_dict()
    session = TECHNIQUES[version.technique].start(model, version.degree)
    session.model.train()(torch.randn(8, 3, 32, 32))  # int8's ranges are those of pictures that were seen
    return session.pack(session.model)


def write_all(folder, scored):
    """Every large file of a run in a folder: weights, queries of every row, sensitivities of the scored ones."""
    layout = write_run(folder, paper_versions(), scored, sensitivity=True)
    for version in paper_versions():
        tensors = packed(version)
        for world in ("target", "shadow_0"):
            save_weights(layout.file(version, world, "weights.pt"), tensors, {})
    return {"models": sum(path.stat().st_size for path in folder.rglob("weights.pt")),
            "original_model": layout.file(ORIGINAL, "target", "weights.pt").stat().st_size}


def main(argv=None):
    p = parser(__doc__, device=None)
    p.add_argument("--run_dir", type=Path, default=None,
                   help="folder of a finished run (default: write what a run holds, and weigh that)")
    p.add_argument("--scored", type=positive(int, least=60), default=10_000,
                   help="members a world that are scored; six times as many rows are queried (default: 10000)")
    args = parse(p, argv, about=("results", "run_dir"))
    if args.run_dir is not None:
        found = [folder for folder in args.run_dir.glob("results*") if folder.is_dir()]
        if not found:
            raise UsageError(f"--run_dir {args.run_dir}: no results folder lies there; name the --run_dir of a run")
        figures, settings = {"all": sum(map(size, found))}, {"weighed": "a finished run"}
    else:
        with tempfile.TemporaryDirectory() as folder:
            parts = write_all(Path(folder), args.scored)
            figures = {"all": size(Path(folder)), **parts}
        settings = {"weighed": "weights, queries and sensitivities written for the purpose; attack scores not counted",
                    "scored": args.scored}
    figures = {f"{name}_mb": round(some / 1e6, 1) for name, some in figures.items()}
    save(ROW, args, torch.device("cpu"), f"{figures['all_mb'] / 1e3:.2f} GB ({settings['weighed']})",
         figures["all_mb"] <= GOAL / 1e6, figures, settings)


if __name__ == "__main__":
    run(main)
