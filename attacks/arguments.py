"""The flags that the attack scripts share, and what they ask for."""
from attacks.attack import Context, Options
from common.device import choose_device
from common.errors import UsageError
from common.paths import OWN
from models import compression
from models.arguments import given_settings, layout_of, parser
from models.compression import TECHNIQUES
from models.run import Run


def attack_parser(description, attacks):
    """The shared flags and those that name the attacked models; attacks: {name: Attack} of the setting."""
    p = parser(description)
    p.add_argument("--original", action="store_true", help="attack the original model")
    p.add_argument("--compress", action="store_true", help="attack compressed models")
    p.add_argument("--compress_name", default=None,
                   help=f"compression technique: {', '.join(TECHNIQUES)}, or what an audited version is called")
    p.add_argument("--compress_degree", nargs="+", default=None,
                   help="pruning: sparsity (0.6 …); quantization: int8; clustering: centroids (4, 8, 16); or several")
    p.add_argument("--attacks", nargs="+", choices=tuple(attacks), default=None, metavar="NAME",
                   help=f"attacks to run, of {', '.join(attacks)} (default: all); finished ones stay")
    return p


def open_run(args, run_dir=None):
    """The Run that the flags name, in run_dir where --run_dir names several; UsageError for flags that contradict."""
    if (args.dataset_name == OWN.dataset) != (args.model_name == OWN.model):
        raise UsageError(f"--dataset_name {args.dataset_name} --model_name {args.model_name}: audited models are named "
                         f"by both, --dataset_name {OWN.dataset} --model_name {OWN.model}")
    run = Run(layout_of(args, run_dir))
    run.contradicted(given_settings(args), ("seed", "protocol"))
    classes = len(run.settings.classes)
    if args.num_cls not in (None, classes):
        raise UsageError(f"--num_cls {args.num_cls}: {run.settings.data_label} has {classes} classes")
    return run


def attack_context(args, run):
    """The Context of an attack's command on a run."""
    options = Options(args.batch_size, getattr(args, "rmia_a", Options.rmia_a))
    return Context(run.settings.seed, run.settings.choices, options, choose_device(args.device))


def versions(args):
    """The compressed versions that the flags name; UsageError when they name none."""
    name, degrees = args.compress_name, args.compress_degree
    if name and args.dataset_name == OWN.dataset:
        return list(dict.fromkeys(compression.parse_any(name, degree) for degree in degrees or [""]))
    if not name or not degrees:
        raise UsageError(f"--compress needs --compress_name ({', '.join(TECHNIQUES)}) and --compress_degree")
    return list(dict.fromkeys(compression.parse(name, degree) for degree in degrees))
