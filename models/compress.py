"""The command of a compression technique: its arguments, then each of its degrees as one stage."""
from common.paths import Version
from models.arguments import training_parser, training_request
from models.making import compress
from models.stage import open_stage


def main(technique, description, argv, **degree_flag):
    """Make every version that the command line names; degree_flag: argparse's words for the technique's own flag."""
    args = parser(technique, description, **degree_flag).parse_args(argv)
    make(technique, args, args.degrees if isinstance(args.degrees, list) else [args.degrees])


def parser(technique, description, **degree_flag):
    """The parser of a technique's command, whose degree_flag fills args.degrees."""
    p = training_parser(description, technique.lr, technique.epochs_flag, epochs=30)
    p.add_argument(technique.degree_flag, dest="degrees", **degree_flag)
    return p


def make(technique, args, degrees):
    """Make the versions of these values of the technique's degree_flag."""
    versions = [Version(technique.name, technique.flag_degree(value)) for value in degrees]
    stage = open_stage(training_request(args))
    for version in versions:
        technique.check(version.degree, stage.recipe)
    for version in dict.fromkeys(versions):
        compress(stage, version)
