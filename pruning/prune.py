"""Stage 2a: prune the original models by magnitude at one or several sparsities, fine-tune and query them."""
from common.command import run
from models import compress
from models.compression.pruning import GRADUAL, PRUNING


def main(argv=None):
    p = compress.parser(PRUNING, __doc__, nargs="+", default=["0.6"],
                        help="fraction of each layer's weights that become zero, in (0, 1), or channels-0.5: the "
                             "fraction of channels that leave the network; several give several models (default: 0.6)")
    p.add_argument("--schedule", choices=("one-shot", "gradual"), default="one-shot",
                   help="prune before fine-tuning, or ever more in its first two thirds (Zhu & Gupta, 2017); a "
                        "gradually pruned version's degree is called gradual-0.6, …, which --prune_sparsity takes too")
    args = p.parse_args(argv)
    prefix = GRADUAL if args.schedule == "gradual" else ""
    compress.make(PRUNING, args, [prefix + value.removeprefix(prefix) for value in args.degrees])


if __name__ == "__main__":
    run(main)
