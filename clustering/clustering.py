"""Stage 2c: cluster the original models' weights into 2^bit centroids a layer, fine-tune and query them."""
from common.command import run
from models import compress
from models.compression.clustering import CLUSTERING


def main(argv=None):
    compress.main(CLUSTERING, __doc__, argv, type=int, nargs="+", choices=range(1, 9), default=[2],
                  help="2^bit centroids a layer: 2, 3, 4 give 4, 8, 16; several give several models")


if __name__ == "__main__":
    run(main)
