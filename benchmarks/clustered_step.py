"""A step of clustered fine-tuning against a plain training step; pruning's beside it."""
from benchmarks.common import Row, command, fastest
from benchmarks.training import epoch, new_model
from common.device import use_bfloat16
from models.compression.clustering import Centroids
from models.compression.pruning import Mask
from models.training import Hooks

GOAL = 1.2
ROW = Row("clustered_step", "clustered fine-tuning step, ResNet-18, k = 16, batch 128", f"≤ {GOAL} × a plain step",
          "python -m benchmarks.clustered_step")


def measure(device, steps=8, batch_size=128, repeats=3):
    """steps of batch_size pictures a repeat, of which the fastest counts."""
    bfloat16 = use_bfloat16("auto", device, 32)
    kinds = {"plain": lambda model: Hooks(), "clustered": lambda model: Centroids(model, 4),
             "pruned": lambda model: Mask(model, 0.9)}
    functions = {}
    for name, hooks in kinds.items():
        model = new_model(device)
        functions[name] = epoch(model, hooks(model), steps, batch_size, device, bfloat16)
    taken = {name: some / steps for name, some in fastest(functions, repeats).items()}
    ratio = {name: taken[name] / taken["plain"] for name in ("clustered", "pruned")}
    text = (f"{ratio['clustered']:.2f} × ({1e3 * taken['clustered']:.0f} against {1e3 * taken['plain']:.0f} ms; pruned "
            f"{ratio['pruned']:.2f} ×)")
    figures = {"ratio": ratio["clustered"], "ratio_pruned": ratio["pruned"],
               **{f"{name}_s": some for name, some in taken.items()}}
    return text, ratio["clustered"] <= GOAL, figures, {"steps": steps, "batch_size": batch_size, "bfloat16": bfloat16,
                                                       "repeats": repeats}


if __name__ == "__main__":
    command(__doc__, measure, ROW)
