"""Stage 2a: prune the original models by magnitude at one or several sparsities, fine-tune and query them."""
from common.command import run
from common.paths import Version
from models.arguments import training_parser
from models.compression import pruning
from models.stage import Session, open_stage, run_worlds


def main(argv=None):
    p = training_parser(__doc__, lr=0.001, epochs_flag="--prune_epochs", epochs=30)
    p.add_argument("--prune_sparsity", type=float, nargs="+", default=[0.6],
                   help="fraction of each layer's weights that become zero, in (0, 1); several give several models")
    args = p.parse_args(argv)
    versions = {sparsity: Version.parse("pruning", sparsity, "--prune_sparsity") for sparsity in args.prune_sparsity}
    stage = open_stage(args)
    for sparsity, version in versions.items():
        run_worlds(stage, version, lambda model, _, sparsity=sparsity: Session(
            model, pruning.Pruning(model, sparsity), pruning.pack))


if __name__ == "__main__":
    run(main)
