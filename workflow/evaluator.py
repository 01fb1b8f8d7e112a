"""The page that an evaluator reads: claim, command, file, expected value and interval, the authors' number, the cost.

It fills itself from the numbers that `workflow.reference --accept` wrote; what they lack is not reached yet.
"""
from pathlib import Path

from common.command import Parser
from common.command import run as run_command
from common.files import atomic, read_json
from common.paths import ORIGINAL, Layout
from evaluation.answer import SIGNS, in_brief
from evaluation.best import per_cent
from evaluation.names import ROWS
from models.compression import paper_versions, short

REFERENCE, PAGE = Path("results/reference/cifar10-jpeg-20000"), Path("results/evaluator.md")
NOT_REACHED = "not reached yet"
WITH = "with the original"
GROUPS = ("pruned four", "clustered three", "pruned + int8", "all eight")
# The one result at this size in the authors' artifact (10.6084/m9.figshare.30904289): its notebook, last epoch.
THEIRS = {("MR", f"pruned + int8, {WITH}"): "ACC 69.8, AUC 77.7, TPR 4.47"}
SCRIPTS = {"C1": "CompLeakNR.py", "C2": "CompLeakSR.py", "C3": "attacks.mr"}
COMMANDS = {"C1": "E1: `python CompLeakNR.py …`", "C2": "E2: `python CompLeakSR.py …`",
            "C3": "E3: `CompLeakMR.ipynb`, or `python -m attacks.mr`"}
HEAD = """# Claim by claim, at the appendix's size

CIFAR-10 as JPEG q75, ResNet-18, 20,000 members, one shadow, seed 0, sound protocol, 10,000 members and 10,000
non-members scored. `make reference` makes every number of this page from the committed answers and compares them; the
commands E1 to E3 are the README's, word for word, on the folder that it lays out (`export COMPLEAK_RUN_DIR=reference`).

Per cent. 95% intervals in brackets are of these points and these models: sampling only, since this is one seed. How far
another training moves a number stands in the three seeds of 5,000 members ([results](README.md)).

The authors' numbers are the last epoch of their notebook (10.6084/m9.figshare.30904289), under their own protocol,
which asks members otherwise than non-members: a neighbour to compare with, not a value to reach.
"""


def lines(expected):
    """The table's rows, a list of cells each; expected: values of expected.json, or None where there are none."""
    layout, versions = Layout(Path("."), "cifar10", "resnet18"), paper_versions()
    asked = [("C1", f"NR {one}", "RMIA", f"RMIA on {short(one)}", layout.result(one, "NR.json")) for one in versions]
    asked += [("C2", f"SR {one}", "SR2 (RF)", f"SR2 (RF) on the original and {short(one)}",
               layout.result(one, "SR.json")) for one in versions[1:]]
    asked += [("C3", "MR", f"{group}, {WITH}", f"MR on {group}, {WITH}", layout.result(ORIGINAL, "MR.json"))
              for group in GROUPS]
    found, judging = [_row(expected, *one) for one in asked], [
        "`python -m evaluation.claims`", f"`{layout.result(ORIGINAL, 'claims.json')}`"]
    for claim in SCRIPTS:
        judged = expected["claims"].get(claim) if expected else None
        verdict = NOT_REACHED
        if judged:
            verdict = f"**{judged['verdict']}**: {in_brief(claim, judged['judged'], {word: word for word in SIGNS})}"
        found.append([claim, "verdict", *judging, verdict, "-", "-",
                      _minutes(expected, "evaluation.claims") if judged else NOT_REACHED])
    best = (expected or {}).get("best", {})
    asked = [(words, best.get(has), "") for has, words in ROWS.items()]
    asked += [(step, rates, "+") for step, rates in best.get("differences", {}).items()]
    for words, rates, sign in asked:
        cells = [per_cent(rates[rate], sign) if rates else NOT_REACHED for rate in ("auc", "tpr")]
        found.append(["-", f"the attacker's best, {words}", *judging, *cells, "-",
                      _minutes(expected, "evaluation.claims") if rates else NOT_REACHED])
    return found


def _row(expected, claim, place, attack, what, path):
    rates = expected["rates"].get(place, {}).get(attack) if expected else None
    auc, tpr = (_cell(rates, name) for name in ("auc", "tpr"))
    return [claim, what, COMMANDS[claim], f"`{path}`", auc, tpr, THEIRS.get((place, attack), "-"),
            _minutes(expected, SCRIPTS[claim]) if rates else NOT_REACHED]


def _cell(rates, name):
    if rates is None:
        return NOT_REACHED
    value, low, high = (100 * one for one in (rates[name], *rates[f"{name}_interval"]))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _minutes(expected, script):
    """Minutes of all commands of one script together, and their largest memory."""
    if not expected:
        return NOT_REACHED
    minutes = sum(cost["minutes"] for cost in expected["cost"]["commands"] if script in cost["command"])
    return f"{minutes:.1f} min, {expected['cost']['memory_gb']:g} GB" if minutes else NOT_REACHED


def page(reference):
    """The page as Markdown, from the expected.json of a folder of packed answers, which may not be there."""
    path = Path(reference) / "expected.json"
    columns = ("claim", "what", "command", "file", "AUC, or verdict", "TPR at 0.1% FPR", "the authors'",
               "all of the claim's commands, memory")
    rows = [columns, ["---"] * len(columns), *lines(read_json(path) if path.exists() else None)]
    return HEAD + "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(argv=None):
    p = Parser(description=__doc__.split("\n")[0])
    p.add_argument("--reference", type=Path, default=REFERENCE, help="folder of packed answers and their numbers")
    p.add_argument("--page", type=Path, default=PAGE, help="file to write")
    args = p.parse_args(argv)
    with atomic(args.page) as beside:
        beside.write_text(page(args.reference), encoding="utf-8")
    print(f"{args.page} written")


if __name__ == "__main__":
    run_command(main)
