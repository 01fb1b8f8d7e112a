"""Stage 2d: quantise the original models to int8 after training, with ONNX Runtime, and query them through it."""
from common.command import run
from models import compress
from models.compression.onnx_int8 import ONNX_INT8


def main(argv=None):
    compress.main(ONNX_INT8, __doc__, argv, nargs="+", choices=ONNX_INT8.degrees, default=["onnx-int8"],
                  help="all of it in int8, or the last layer left in floating point (default: onnx-int8)")


if __name__ == "__main__":
    run(main)
