"""The flags that the attack scripts share."""
from pathlib import Path

from common.errors import UsageError
from common.paths import DEGREES, OWN, Layout, Version
from models.arguments import parser
from models.run import load_split, saved_run


def attack_parser(description):
    """The shared flags and those that name the attacked models."""
    p = parser(description)
    p.add_argument("--original", action="store_true", help="attack the original model")
    p.add_argument("--compress", action="store_true", help="attack compressed models")
    p.add_argument("--compress_name", choices=tuple(DEGREES), default=None, help="compression technique")
    p.add_argument("--compress_degree", nargs="+", default=None,
                   help="pruning: sparsity (0.6 …); quantization: int8; clustering: centroids (4, 8, 16); or several")
    return p


def open_run(args):
    """(Layout, the run's settings, its split); UsageError for flags that contradict the run."""
    if (args.dataset_name == OWN.dataset) != (args.model_name == OWN.model):
        raise UsageError(f"--dataset_name {args.dataset_name} --model_name {args.model_name}: audited models are named "
                         f"by both, --dataset_name {OWN.dataset} --model_name {OWN.model}")
    layout = Layout(Path(args.run_dir), args.dataset_name, args.model_name)
    run, split = saved_run(layout, args, fixed=("seed", "protocol")), load_split(layout)
    if args.num_cls not in (None, len(run["classes"])):
        raise UsageError(f"--num_cls {args.num_cls}: {run['data_label']} has {len(run['classes'])} classes")
    return layout, run, split


def versions(args):
    """The compressed versions that the flags name; UsageError when they name none."""
    if not args.compress_name or not args.compress_degree:
        raise UsageError(f"--compress needs --compress_name ({', '.join(DEGREES)}) and --compress_degree")
    return [Version.parse(args.compress_name, degree) for degree in args.compress_degree]
