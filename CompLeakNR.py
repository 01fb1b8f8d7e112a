"""CompLeakNR: six membership inference attacks on each model by itself, original or compressed."""
from attacks import nr
from attacks.arguments import attack_context, attack_parser, open_run, versions
from attacks.results import report
from common.command import run as run_command
from common.errors import CompLeakError, UsageError
from common.paths import ORIGINAL
from models.compression import short
from models.record import say_at_chance


def rmia_a(text):
    """RMIA's a from its flag: 'auto' or a number in 0–1."""
    if text == "auto":
        return text
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def attack(run, version, context, names=None, shadow_num=None):
    """Attack one version and print what is left out and a line an attack; names: of the attacks, default all."""
    result, lines = nr.attack_version(run, version, context, names, shadow_num)
    for line in lines:
        print(line)
    if not result["attacks"]:
        raise CompLeakError(f"{', '.join(names)}: cannot run on {version}, for the reason above")
    scored = next(iter(result["attacks"].values()))
    report(f"CompLeakNR, {short(version)}: {scored['members'] + scored['non_members']} rows of the target",
           result["attacks"], run)


def main(argv=None):
    p = attack_parser(__doc__, nr.ATTACKS)
    p.add_argument("--rmia_a", type=rmia_a, default=0.5, help="RMIA's a in 0-1, or auto: chosen on the shadow by AUC")
    args = p.parse_args(argv)
    if not (args.original or args.compress):
        raise UsageError("name the models to attack: --original, --compress with --compress_name and "
                         "--compress_degree, or both")
    chosen = ([ORIGINAL] if args.original else []) + (versions(args) if args.compress else [])
    run = open_run(args)
    say_at_chance(run, chosen)
    for version in chosen:
        attack(run, version, attack_context(args, run), args.attacks, args.shadow_num)


if __name__ == "__main__":
    run_command(main)
