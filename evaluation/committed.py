"""Two figures of committed numbers: the attacker's best among equals, and what asking as the released code does adds.

`python -m evaluation.committed` draws them in results/reference/ from committed files alone. answer.svg is the first
figure of the report, from claims.json. released.svg is from each seed's NR.json, SR.json and MR.json of runs that hold
no choice on the shadow, and their ablation.md: what it shows is the attack with the highest mean AUC on the target,
called the strongest, which is more than an attacker could know.
"""
import re
from pathlib import Path

from common.command import Parser
from common.command import run as run_command
from common.errors import CompLeakError
from common.files import atomic, read_json
from common.intervals import t_interval
from common.paths import ORIGINAL
from evaluation import answer
from evaluation.drawing import Row, draw_answer
from evaluation.figures import svg
from evaluation.names import SETTINGS, short

EQUALS, RELEASED = "cifar10-jpeg-2000-shared", "cifar10-jpeg-5000"  # the folders of each figure's numbers
CHOICE = "together"  # of ablation.md: the released code's choices that need no models of their own
CHANGES = re.compile(r"([+-]\d+\.\d+)")


def sound(folder):
    """{(setting, model, attack): [AUC a seed]} of a folder's seeds, fractions, of what every seed has."""
    seeds = sorted(folder.glob("seed_*"))
    if not seeds:
        raise CompLeakError(f"--reference {folder} has no seed_0, seed_1, …: name a folder of committed numbers")
    each = [{(path.stem, str(ORIGINAL) if path.stem == "MR" else path.parent.name, attack): metrics["auc"]
             for path in sorted(seed.rglob("?R.json")) for attack, metrics in read_json(path)["attacks"].items()}
            for seed in seeds]
    return {key: [one[key] for one in each] for key in each[0] if all(key in one for one in each)}


def released(folder, known):
    """{key: [AUC a seed]} under the released code's choices: the sound AUC plus the change that ablation.md has."""
    page = (folder / "ablation.md").read_text(encoding="utf-8")
    part = page.split(f"## {CHOICE}:")[1].split("\n## ")[0]
    found = {}
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        key = tuple(cells[:3])
        if key in known:
            found[key] = [auc + float(change) / 100 for auc, change in
                          zip(known[key], CHANGES.findall(cells[-1]), strict=True)]
    return found


def strongest(rates, label, asked):
    """A `Row` a setting: the attack with the highest mean AUC on the target, Student's t interval over the seeds."""
    rows = []
    for setting, words in SETTINGS.items():
        mine = {key: values for key, values in rates.items() if key[0] == setting}
        _, model, attack = key = max(mine, key=lambda key: sum(mine[key]))
        where = {"NR": f" on {short(model)}", "SR": f", original + {short(model)}", "MR": ""}[setting]
        rows.append(Row(f"{label}{words}", f"{short(attack) if setting != 'MR' else f'MR, {attack}'}{where}",
                        sum(mine[key]) / len(mine[key]), t_interval(mine[key]), mine[key], asked))
    return rows


def beside_released(folder):
    """The Figure of a folder of committed numbers: each setting sound and released, and a line at RMIA."""
    known = sound(folder)
    alone = known["NR", str(ORIGINAL), "RMIA"]
    pairs = zip(strongest(known, "sound, ", False), strongest(released(folder, known), "released, ", True), strict=True)
    return draw_answer([row for pair in pairs for row in pair], ("RMIA on the original", sum(alone) / len(alone)),
                       "The strongest attack, asked soundly and as released",
                       f"bars: 95% t interval over {len(alone)} seeds; dots: seeds")


def main(argv=None):
    p = Parser(description=__doc__.split("\n")[0])
    p.add_argument("--reference", type=Path, default=Path("results/reference"),
                   help="folder of committed numbers (default: results/reference)")
    p.add_argument("--out", type=Path, default=None, help="where the figures go (default: that folder)")
    args = p.parse_args(argv)
    fair, _ = answer.figure(read_json(args.reference / EQUALS / "claims.json"))
    for name, drawn in (("answer.svg", fair), ("released.svg", beside_released(args.reference / RELEASED))):
        path, picture = (args.out or args.reference) / name, svg(drawn)
        with atomic(path) as beside:
            beside.write_bytes(picture)
        print(f"{path} written ({len(picture) / 1e3:.0f} kB)")


if __name__ == "__main__":
    run_command(main)
