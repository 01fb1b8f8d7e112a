"""Stage 2c: cluster the original models' weights into 2^bit centroids a layer, fine-tune and query them."""
from common.command import run
from common.paths import Version
from models.arguments import training_parser
from models.compression import clustering
from models.stage import Session, open_stage, run_worlds


def main(argv=None):
    p = training_parser(__doc__, lr=0.00001, epochs_flag="--epochs", epochs=30)
    p.add_argument("--bit", type=int, nargs="+", choices=range(1, 9), default=[2],
                   help="2^bit centroids a layer: 2, 3, 4 give 4, 8, 16; several give several models")
    args = p.parse_args(argv)
    stage = open_stage(args)
    for bit in args.bit:
        run_worlds(stage, Version("clustering", str(2**bit)), lambda model, _, bit=bit: Session(
            model, clustering.Clustering(model, bit), lambda trained, bit=bit: clustering.pack(trained, bit)))


if __name__ == "__main__":
    run(main)
