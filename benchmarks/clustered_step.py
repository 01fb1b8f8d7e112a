"""A step of clustered fine-tuning against a plain training step; pruning's beside it."""
from benchmarks.common import Row, fastest, parse, parser, rounded, save
from benchmarks.training import epoch, new_model
from common.command import positive, run
from common.device import choose_device, use_bfloat16
from models.compression.clustering import Centroids
from models.compression.pruning import Mask
from models.training import Hooks

GOAL = 1.2
ROW = Row("clustered_step", "clustered fine-tuning step, ResNet-18, k = 16, batch 128", f"≤ {GOAL} × a plain step",
          "python -m benchmarks.clustered_step")


def main(argv=None):
    p = parser(__doc__)
    p.add_argument("--steps", type=positive(int), default=8, help="steps a repeat (default: 8)")
    p.add_argument("--batch_size", type=positive(int, least=2), default=128, help="pictures a step (default: 128)")
    p.add_argument("--repeats", type=positive(int), default=3, help="repeats, of which the fastest counts (default: 3)")
    args = parse(p, argv)
    device = choose_device(args.device)
    bfloat16 = use_bfloat16("auto", device, 32)
    kinds = {"plain": lambda model: Hooks(), "clustered": lambda model: Centroids(model, 4),
             "pruned": lambda model: Mask(model, 0.9)}
    functions = {}
    for name, hooks in kinds.items():
        model = new_model(device)
        functions[name] = epoch(model, hooks(model), args.steps, args.batch_size, device, bfloat16)
    taken = {name: some / args.steps for name, some in fastest(functions, args.repeats).items()}
    ratio = {name: taken[name] / taken["plain"] for name in ("clustered", "pruned")}
    save(ROW, args, device,
         f"{ratio['clustered']:.2f} × ({1e3 * taken['clustered']:.0f} against {1e3 * taken['plain']:.0f} ms; pruned "
         f"{ratio['pruned']:.2f} ×)", ratio["clustered"] <= GOAL,
         rounded({"ratio": ratio["clustered"], "ratio_pruned": ratio["pruned"],
                  **{f"{name}_s": some for name, some in taken.items()}}),
         {"steps": args.steps, "batch_size": args.batch_size, "bfloat16": bfloat16, "repeats": args.repeats})


if __name__ == "__main__":
    run(main)
