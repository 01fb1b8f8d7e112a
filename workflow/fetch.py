"""Download or decode a data set into its cache, once, before several jobs ask for it at the same time."""
from common.command import Parser, run
from data.sets import DATASETS, load


def main(argv=None):
    p = Parser(description=__doc__)
    p.add_argument("--dataset_name", choices=tuple(DATASETS), default="cifar10", help="data set")
    p.add_argument("--data_dir", default=None, help="folder of pictures (default: cifar10, cifar100: downloaded)")
    p.add_argument("--image_size", type=int, default=32, help="pixels a side")
    p.add_argument("--cache_dir", default=None, help="folder of downloads and decoded pictures (data/datasets)")
    args = p.parse_args(argv)
    data = load(args.dataset_name, args.data_dir, None, args.image_size, args.cache_dir)
    print(f"{data.label}: {len(data.labels):,} pictures in {len(data.classes)} classes, "
          f"{data.repeated or 'none'} of them equal to an earlier one")


if __name__ == "__main__":
    run(main)
