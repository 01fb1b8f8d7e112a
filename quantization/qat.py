"""Stage 2b: quantise the original models to int8 with quantisation-aware fine-tuning, convert and query them."""
from common.command import run
from common.paths import DEGREES, Version
from models.arguments import training_parser
from models.compression import int8
from models.stage import Session, open_stage, run_worlds


def main(argv=None):
    p = training_parser(__doc__, lr=0.001, epochs_flag="--quantized_epochs", epochs=30)
    p.add_argument("--degree", choices=DEGREES["quantization"], default="int8", help="number format")
    args = p.parse_args(argv)
    stage = open_stage(args)

    def start(original, _):
        model = int8.prepare(original)
        return Session(model, int8.QuantisationAware(model), int8.convert)

    run_worlds(stage, Version("quantization", args.degree), start)


if __name__ == "__main__":
    run(main)
