"""Stage 2b: quantise the original models to int8 with quantisation-aware fine-tuning, convert and query them."""
from common.command import run
from models import compress
from models.compression.int8 import QUANTIZATION


def main(argv=None):
    compress.main(QUANTIZATION, __doc__, argv, choices=QUANTIZATION.degrees, default="int8", help="number format")


if __name__ == "__main__":
    run(main)
