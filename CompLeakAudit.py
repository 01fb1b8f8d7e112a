"""CompLeakAudit: every attack on models made elsewhere, from a folder of their answers, then one sentence."""
import argparse
import re
from pathlib import Path

import CompLeakNR
import CompLeakSR
from attacks import audit, mr, sr
from attacks.attack import Context
from attacks.results import report
from attacks.saved import read_result
from common.command import Parser
from common.command import run as run_command
from common.device import choose_device
from common.paths import OWN, Layout
from data.names import shown
from evaluation import answer, claims
from evaluation import report as page
from evaluation.writing import with_interval
from models.queries import ARRAYS
from models.record import say_at_chance

ALONE = "loss_threshold"  # what answers where no shadow chooses an attack; named here, not picked by a result


def label(text):
    """What the audited data and model are called in tables, from its flag: one line, not empty."""
    if not re.fullmatch(r"[^\x00-\x1f]+", text.strip()):
        raise argparse.ArgumentTypeError("choose a name, in one line")
    return shown(text.strip())


def arrays():
    """What --help says of the files in FOLDER."""
    rows = "".join(f"  {name:<8}{kind:<30}{meaning}\n" for name, (*_, kind, meaning) in ARRAYS.items())
    return f"""FOLDER holds original/target.npz, answers of the audited model, and original/shadow_0.npz, …, answers of
models trained the same way on other data, on which attacks are fitted. Compressed versions lie beside original/, each
with the same models, by any name: pruning_0.6/, quantization_int8/, clustering_4/, int4/, distilled/, …
A file holds n rows in arrays (numpy.savez):
{rows}Every model should answer the target's and the shadows' rows: then RMIA and calibrated attacks run too.
models.audit.ask(model, inputs, labels, member, index, "FOLDER/original/target") writes the answers of any function of
a batch, as a folder in the file's place, and sensitivities, which SAMIA needs.
"""


def attack_all(run, context):
    """NR of every version, SR of every pair, MR of every group, as far as the answers allow; finished ones stay."""
    for version in run.versions():
        CompLeakNR.attack(run, version, context)
    for pair in sr.pairs(run, run.versions()[1:]) if run.allows("SR") else []:
        CompLeakSR.attack(run, pair, context)
    if run.allows("MR"):
        report("CompLeakMR", mr.attack_groups(run, context)["attacks"], run)


def judge(run):
    """Judge the claims and the attacker's best and save them; the answer in words."""
    saved = claims.judge_and_save([run])
    if saved["verdicts"]:
        print("claims: " + ", ".join(f"{claim} {found['verdict']}" for claim, found in saved["verdicts"].items()))
    text = f"{answer.sentence(saved)} {answer.asked(saved)}"
    if not run.split.shadows:
        version = run.versions()[0]
        found = read_result(run, "NR", version)["attacks"][ALONE]
        text += f" {ALONE} on {version}: AUC {with_interval(found['auc'], found['auc_interval'], 1, unit='%')}."
    return text


def main(argv=None):
    p = Parser(description=__doc__, epilog=arrays())
    p.add_argument("--outputs", type=Path, required=True, metavar="FOLDER", help="folder of answers, see below")
    p.add_argument("--run_dir", default=".", help="folder of the results, one for each audit (default: here)")
    p.add_argument("--data_label", type=label, default="own models", help="name in tables")
    p.add_argument("--seed", type=int, default=0, help="seed of the attacks and of cut rows (default: 0)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N, of the attacks")
    args = p.parse_args(argv)
    device, layout = choose_device(args.device), Layout(Path(args.run_dir), OWN.dataset, OWN.model)
    run, lines = audit.import_folder(args.outputs, layout, args.data_label, args.seed)
    print("\n".join(lines))
    say_at_chance(run, run.versions())
    attack_all(run, Context(run.settings.seed, run.settings.choices, device=device))
    text = judge(run)
    print(f"{page.save([run])}\n{text}")


if __name__ == "__main__":
    run_command(main)
