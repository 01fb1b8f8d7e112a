"""Download or decode a data set into its cache, once, before several jobs ask for it at the same time."""
from common.command import Parser, run
from data.images import NAMES, load


def main(argv=None):
    p = Parser(description=__doc__)
    p.add_argument("--dataset_name", choices=NAMES, default="cifar10", help="data set")
    p.add_argument("--data_dir", default=None, help="folder of pictures (default: cifar10 is downloaded)")
    p.add_argument("--image_size", type=int, default=32, help="pixels a side")
    args = p.parse_args(argv)
    data = load(args.dataset_name, args.data_dir, None, args.image_size)
    print(f"{data.label}: {len(data.labels):,} pictures, {len(data.classes)} classes")


if __name__ == "__main__":
    run(main)
