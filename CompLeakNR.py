"""CompLeakNR: six membership inference attacks on each model by itself, original or compressed."""
from attacks import nr
from attacks.arguments import attack_parser, open_run, versions
from attacks.inputs import read_version
from attacks.results import as_arrays, evaluate_all, finished, report, save
from common.command import run
from common.device import choose_device
from common.errors import UsageError
from common.files import locked
from common.paths import ORIGINAL
from models import protocol


def rmia_a(text):
    """RMIA's a from its flag: 'auto' or a number in 0–1."""
    if text == "auto":
        return text
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def attack_version(layout, version, args, run_settings):
    """Attack one version, print one line an attack, and write NR.json and NR_scores.npz; finished work is kept."""
    target, shadows = read_version(layout, version, args.shadow_num)
    seed, choices = run_settings["seed"], protocol.parse(run_settings["protocol"])
    inputs = {"setting": "NR", "version": str(version), "weights": [model.weights for model in (target, *shadows)],
              "split": target.queries.meta["split"], "seed": seed, "batch_size": args.batch_size, "rmia_a": args.rmia_a,
              "sensitivity": all(model.sensitivity is not None for model in (target, *shadows)),
              **protocol.record(choices, "NR")}
    path = layout.result(version, "NR.json")
    result = finished(path, inputs)
    if result is None:
        results = nr.attack(target, shadows, seed, choose_device(args.device), args.batch_size, args.rmia_a,
                            choices)
        arrays = {"index": target.index, "member": target.member, **as_arrays(results)}
        metrics = evaluate_all(results, target.member, seed, choices)
        result = save(path, layout.result(version, "NR_scores.npz"), inputs, metrics, arrays)
    for text in nr.left_out(target, shadows):
        print(text)
    report(f"CompLeakNR, {version}: {len(target.index)} rows of the target", result["attacks"])


def main(argv=None):
    p = attack_parser(__doc__)
    p.add_argument("--rmia_a", type=rmia_a, default=0.5, help="RMIA's a in 0-1, or auto: chosen on the shadow by AUC")
    args = p.parse_args(argv)
    if not (args.original or args.compress):
        raise UsageError("name the models to attack: --original, --compress with --compress_name and "
                         "--compress_degree, or both")
    layout, settings, _ = open_run(args)
    chosen = ([ORIGINAL] if args.original else []) + (versions(args) if args.compress else [])
    for version in chosen:
        with locked(layout.result(version, "NR.json")):
            attack_version(layout, version, args, settings)


if __name__ == "__main__":
    run(main)
