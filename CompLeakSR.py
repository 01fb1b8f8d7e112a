"""CompLeakSR: membership inference from the original and one compressed model together."""
from attacks import sr
from attacks.arguments import attack_context, attack_parser, open_run, versions
from attacks.results import report
from attacks.saved import read_result
from common.command import run as run_command
from common.errors import CompLeakError, UsageError
from common.paths import ORIGINAL
from evaluation.added import second_model
from models import hints
from models.compression import short
from models.record import say_at_chance


def attack(run, pair, context, names=None, shadow_num=None):
    """Attack one of `sr.pairs` and print a line an attack; names: as of `CompLeakNR.attack`."""
    version = pair.compressed.version
    result = sr.attack_version(run, version, context, names, shadow_num, pair)
    if not result["attacks"]:
        raise CompLeakError(f"{', '.join(names)}: cannot run on {version}, for the reason above")
    scored = next(iter(result["attacks"].values()))
    report(f"CompLeakSR, original + {short(version)}: {scored['members'] + scored['non_members']} rows of the target",
           result["attacks"], run)
    print(second_model(run, version))


def report_nr(run, version):
    """Print the NR numbers of one model, or the command that makes them."""
    result = read_result(run, "NR", version)
    if result is not None and len(result["attacks"]) > 1:
        report(f"CompLeakNR, {short(version)}:", result["attacks"], run)
    else:
        print(f"CompLeakNR, {short(version)}: not attacked yet, run {hints.attacks(run.layout, 'NR', [version])}")


def main(argv=None):
    args = attack_parser(__doc__, sr.ATTACKS).parse_args(argv)
    if not (args.original and args.compress):
        raise UsageError("CompLeakSR attacks a pair: give both --original and --compress")
    chosen = versions(args)
    run = open_run(args)
    print("Start Membership Inference Attacks")
    say_at_chance(run, [ORIGINAL, *chosen])
    for pair in sr.pairs(run, chosen, args.shadow_num):
        for model in pair:
            report_nr(run, model.version)
        attack(run, pair, attack_context(args, run), args.attacks, args.shadow_num)


if __name__ == "__main__":
    run_command(main)
