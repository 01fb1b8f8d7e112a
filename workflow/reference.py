"""The tables from committed answers: laid out as a run, attacked by the appendix's commands, compared with what they
gave before. Nothing is trained and no picture is needed.
"""
import os
import resource
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from attacks import lira_game, metric_based, mr, rmia, sr
from attacks.attack import NONE
from attacks.saved import read_multi, read_result
from common.command import Parser
from common.command import run as run_command
from common.errors import CompLeakError
from common.files import read_json, write_json
from common.paths import ORIGINAL
from models import hints
from models.compression import is_control
from models.hints import mending
from workflow.answers import lay_out

ROOT = Path(__file__).resolve().parents[1]
CLOSED = {*(attack.name for attack in (*metric_based.ATTACKS, *rmia.ATTACKS, *lira_game.ATTACKS)),
          *(name for name, attack in sr.ATTACKS.items() if attack.knowledge == NONE or name in lira_game.JOINT),
          *(row for row, (name, _) in mr.EQUALS.items() if name in lira_game.JOINT)}
FORMULA, CLASSIFIER, NETWORK = 1e-6, 0.003, 0.005  # how far a rate may move: of the first all three, else AUC alone
KEPT = ("acc", "auc", "auc_interval", "tpr", "tpr_interval")
PAGES = ("evaluation.claims", "evaluation.tables", "evaluation.report")


def commands(run):
    """The appendix's commands E1, E2 and E3 on the versions that a run has, then claims, tables and report.

    As the appendix has them, in the run's own folder: `execute` names it.
    """
    layout, versions = replace(run.layout, run_dir=Path(".")), run.versions()
    compressed = [version for version in versions if version != ORIGINAL]
    texts = [*hints.attacks(layout, "NR", versions).split("; "),
             *(hints.attacks(layout, "SR", compressed).split("; ") if compressed else [])]
    if sum(not is_control(version) for version in compressed) > 1:
        texts.append(hints.module(layout, "attacks.mr"))
    return [*texts, *(hints.module(layout, name) for name in PAGES)]


def execute(texts, run_dir):
    """Run commands on the run in run_dir, one after the other, from the project's folder; gives what each cost.

    Raises CompLeakError for the first that fails.
    """
    costs, environment = [], {**os.environ, "COMPLEAK_RUN_DIR": str(Path(run_dir).absolute())}
    for text in texts:
        print(f"$ {text}", flush=True)
        began = time.monotonic()
        code = subprocess.run([sys.executable, *shlex.split(text)[1:]], cwd=ROOT, env=environment).returncode
        if code:
            raise CompLeakError(f"{text} ended with exit code {code}")
        costs.append({"command": text, "minutes": round((time.monotonic() - began) / 60, 2)})
    return costs


def numbers(run):
    """{"NR original": {attack: rates}, …} of everything that a run's attacks have found, and the claims' sentences."""
    found = {}
    for version in run.versions():
        for setting in ("NR", "SR"):
            result = read_result(run, setting, version)
            if result and (setting, version) != ("SR", ORIGINAL):
                found[f"{setting} {version}"] = result["attacks"]
    if run.layout.result(ORIGINAL, "MR.json").exists():
        found["MR"] = read_multi(run)["attacks"]
    rates = {place: {name: {key: metrics[key] for key in KEPT} for name, metrics in attacks.items()}
             for place, attacks in found.items()}
    judged = read_json(run.layout.result(ORIGINAL, "claims.json"))
    claims = {claim: {key: one[key] for key in ("verdict", "text", "judged")}
              for claim, one in judged["verdicts"].items()}
    return {"rates": rates, "claims": claims, "best": judged["best"]}


def allowed(name):
    """How far an attack's rates may move on another machine, by what it computes with."""
    if name.rsplit(", ", 1)[-1] in CLOSED:
        return FORMULA
    return CLASSIFIER if name.endswith(("(RF)", "(LR)")) else NETWORK


def differences(found, wanted):
    """(numbers compared, [one line on each that is missing or differs by more than is allowed])."""
    count, lines = 0, []
    for place, attacks in wanted["rates"].items():
        for name, rates in attacks.items():
            mine, most = found["rates"].get(place, {}).get(name), allowed(name)
            for rate in ("acc", "auc", "tpr") if most == FORMULA else ("auc",):
                count += 1
                if mine is None:
                    lines.append(f"{place}, {name}: {rate} is missing")
                elif (mine[rate] is None) != (rates[rate] is None) or \
                        (rates[rate] is not None and abs(mine[rate] - rates[rate]) > most):
                    lines.append(f"{place}, {name}: {rate} {mine[rate]}, committed {rates[rate]}, allowed ±{most:g}")
    return count, lines


def compare(found, path):
    """Print how a run's numbers stand to the committed ones; CompLeakError where any differs, or none are there."""
    with mending(f"git checkout -- {path}"):
        wanted = read_json(path)
    count, lines = differences(found, wanted)
    print("\n".join(lines[1:]))
    for claim, one in wanted["claims"].items():
        mine = found["claims"].get(claim, {"verdict": "not judged"})["verdict"]
        print(f"{claim}: {mine}" + ("" if mine == one["verdict"] else f"; committed: {one['verdict']}"))
    if lines:
        raise CompLeakError(f"{len(lines)} of {count} numbers differ from {path}: {lines[0]}")
    print(f"{count} numbers agree with {path}")


def main(argv=None):
    p = Parser(description=__doc__)
    p.add_argument("--reference", type=Path, required=True, help="folder of packed answers; no default")
    p.add_argument("--run_dir", default="reference", help="where the run's folders are laid out (default: reference)")
    p.add_argument("--samia", action="store_true", help="SAMIA too, where sensitivities are packed: an hour longer")
    p.add_argument("--lay_out", action="store_true", help="lay the folders out and run nothing")
    p.add_argument("--accept", action="store_true", help="write the numbers found as the committed ones")
    args = p.parse_args(argv)
    run = lay_out(args.reference, args.run_dir, args.samia)
    print(f"{len(run.versions())} version(s) laid out in {args.run_dir}: {', '.join(map(str, run.versions()))}")
    if args.lay_out:
        return
    costs = execute(commands(run), args.run_dir)
    path, found = args.reference / f"expected{'_samia' if args.samia else ''}.json", numbers(run)
    if args.accept:
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        disk = sum(file.stat().st_size for file in Path(args.run_dir).rglob("*") if file.is_file()) / 1e9
        write_json(path, {**found, "cost": {"commands": costs, "memory_gb": round(peak, 2), "disk_gb": round(disk, 2)}})
    compare(found, path)


if __name__ == "__main__":
    run_command(main)
