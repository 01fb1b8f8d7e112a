"""Stage 1: train the original models, one target and its shadows, and query them."""
from argparse import BooleanOptionalAction

from common.command import run
from common.paths import ORIGINAL
from common.seeds import derive_seed
from data.augment import VIEWS
from data.splits import POOLS
from models.arguments import training_parser, training_request
from models.making import run_worlds
from models.networks import build
from models.stage import open_stage
from models.training import Hooks, Session


def main(argv=None):
    p = training_parser(__doc__, lr=0.1, epochs_flag="--epochs", epochs=100)
    p.add_argument("--train_size", type=int, default=None, help="members of each model (default: 2/3 of half the data)")
    p.add_argument("--pools", choices=POOLS, default=None,
                   help="disjoint: target and shadows draw from halves of the data that never meet; shared: every "
                        "model from everything (default: the run's, or disjoint)")
    p.add_argument("--pool_size", type=int, default=None,
                   help="pictures of a pool, drawn at random (default: half of the data, of shared pools all)")
    p.add_argument("--image_size", type=int, default=None, help="pictures are resized to this many pixels a side (32)")
    p.add_argument("--augment", action=BooleanOptionalAction, default=None,
                   help="random crop and flip in training, here and in every compression of these models (on)")
    p.add_argument("--views", type=int, choices=range(len(VIEWS) + 1), default=0, metavar="K",
                   help=f"ask each model about K fixed views of the scored pictures too, 0 to {len(VIEWS)}: mirrored, "
                        "shifted by a pixel; the control for more queries in MR, with as many as it has versions")
    stage = open_stage(training_request(p.parse_args(argv)), create=True)

    def start(_, world):
        seed = derive_seed(stage.settings.seed, world, "weights")
        model = build(stage.run.layout.model, len(stage.settings.classes), seed)
        return Session(model, Hooks(), pack=lambda trained: trained.state_dict())

    run_worlds(stage, ORIGINAL, start)


if __name__ == "__main__":
    run(main)
