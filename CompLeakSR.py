"""CompLeakSR: membership inference from the original and one compressed model together."""
from attacks import sr
from attacks.arguments import attack_parser, open_run, versions
from attacks.inputs import check_pair, need_shadows, read_version
from attacks.results import as_arrays, evaluate_all, finished, report, save
from attacks.saved import attack_commands, read_current
from common.command import run
from common.errors import UsageError
from common.files import locked
from common.paths import ORIGINAL
from models import protocol


def attack_version(layout, version, args, run_settings):
    """Attack one pair, print it beside NR on both models, and write SR.json and SR_scores.npz; finished work stays."""
    original = read_version(layout, ORIGINAL, args.shadow_num)
    compressed = read_version(layout, version, args.shadow_num)
    for one, other in zip([original[0], *original[1]], [compressed[0], *compressed[1]], strict=True):
        check_pair(one, other, layout, version)
    target, shadows = compressed
    need_shadows(layout, shadows, "SR")
    seed, choices = run_settings["seed"], protocol.parse(run_settings["protocol"])
    inputs = {"setting": "SR", "version": str(version), "original": original[0].weights, "seed": seed,
              "weights": [model.weights for model in (target, *shadows)], "split": target.queries.meta["split"],
              **protocol.record(choices, "SR")}
    path = layout.result(version, "SR.json")
    result = finished(path, inputs)
    if result is None:
        results, for_multi = sr.attack(original, compressed, seed)
        arrays = {"index": target.index, "member": target.member, **as_arrays(results), **for_multi}
        metrics = evaluate_all(results, target.member, seed, choices)
        result = save(path, layout.result(version, "SR_scores.npz"), inputs, metrics, arrays)
    for model in (ORIGINAL, version):
        report_nr(layout, model)
    report(f"CompLeakSR, original + {version}: {len(target.index)} rows of the target", result["attacks"])


def report_nr(layout, version):
    """Print the NR numbers of one model, or the command that makes them."""
    command = attack_commands(layout, "NR", [version])
    result = read_current(layout, version, "NR.json", command)
    if result is not None:
        report(f"CompLeakNR, {version}:", result["attacks"])
    else:
        print(f"CompLeakNR, {version}: not attacked yet, run {command}")


def main(argv=None):
    p = attack_parser(__doc__)
    args = p.parse_args(argv)
    if not (args.original and args.compress):
        raise UsageError("CompLeakSR attacks a pair: give both --original and --compress")
    chosen = versions(args)
    layout, settings, _ = open_run(args)
    print("Start Membership Inference Attacks")
    for version in chosen:
        with locked(layout.result(version, "SR.json")):
            attack_version(layout, version, args, settings)


if __name__ == "__main__":
    run(main)
