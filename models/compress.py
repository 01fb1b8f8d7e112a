"""The command of a compression technique: its arguments, then each of its degrees as one stage."""
from common.paths import Version
from models.arguments import training_parser, training_request
from models.making import compress
from models.stage import open_stage


def main(technique, description, argv, **degree_flag):
    """Make every version that the command line names; degree_flag: argparse's words for the technique's own flag."""
    p = training_parser(description, technique.lr, technique.epochs_flag, epochs=30)
    p.add_argument(technique.degree_flag, dest="degrees", **degree_flag)
    args = p.parse_args(argv)
    given = args.degrees if isinstance(args.degrees, list) else [args.degrees]
    versions = [Version(technique.name, technique.flag_degree(value)) for value in given]
    stage = open_stage(training_request(args))
    for version in dict.fromkeys(versions):
        compress(stage, version)
