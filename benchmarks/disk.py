"""Disk of one complete run: what all its large files come to, written out and weighed."""
import tempfile
from pathlib import Path

from benchmarks.common import Row, command
from benchmarks.made_up import write_run
from benchmarks.sizes import packed
from common.paths import ORIGINAL
from models.compression import paper_versions
from models.weights import save_weights

GOAL = 1e9
ROW = Row("disk", "disk of one complete run: 18 models, their queries and sensitivities", "≤ 1 GB",
          "python -m benchmarks.disk")


def measure(device, scored=10_000):
    """scored: members a world that are scored; six times as many rows are queried."""
    with tempfile.TemporaryDirectory() as folder:
        layout = write_run(Path(folder), paper_versions(), scored, sensitivity=True)
        for version in paper_versions():
            tensors = packed("resnet18", version)
            for world in ("target", "shadow_0"):
                save_weights(layout.file(version, world, "weights.pt"), tensors, {})
        size = {path: path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}
    figures = {"all": sum(size.values()), "models": sum(size[path] for path in size if path.name == "weights.pt"),
               "original_model": size[layout.file(ORIGINAL, "target", "weights.pt")]}
    weighed = "weights, queries and sensitivities written for the purpose; attack scores not counted"
    return (f"{figures['all'] / 1e9:.2f} GB ({weighed})", figures["all"] <= GOAL,
            {f"{name}_mb": round(some / 1e6, 1) for name, some in figures.items()},
            {"weighed": weighed, "scored": scored})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
