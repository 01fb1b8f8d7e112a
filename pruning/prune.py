"""Stage 2a: prune the original models by magnitude at one or several sparsities, fine-tune and query them."""
from common.command import run
from models import compress
from models.compression import TECHNIQUES


def main(argv=None):
    compress.main(TECHNIQUES["pruning"], __doc__, argv, type=float, nargs="+", default=[0.6],
                  help="fraction of each layer's weights that become zero, in (0, 1); several give several models")


if __name__ == "__main__":
    run(main)
