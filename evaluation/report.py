"""One self-contained report.html of a run from its saved results: the answer, tables, figures, deviations."""
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import jinja2

from attacks.arguments import open_run
from common.command import run as run_command
from common.files import atomic
from common.metrics import resolvable
from common.paths import ORIGINAL
from evaluation import answer, claims, drawing, exposed, figures, report_parts
from evaluation.claims_table import RULES
from evaluation.evidence import check_together, read
from evaluation.names import short
from evaluation.tables import RATES, build
from models import hints
from models.arguments import parser
from models.record import at_chance_lines

FEW = 4  # seeds whose values have columns of their own beside the mean
HISTOGRAMS = ("metric_based_2", "train_based_2 (RF)", "RMIA")
# A cell that is set as a number: "61.23", "61.2 ±1.1", "+1.2 [0.4, 2.0]", "1,234 s", "-".
NUMBER = r"-|[+<-]?[\d.,e-]+( s)?( ±[\d.]+)?( \[[^\]]*\])?"
CLAIMS = {"C1": "NR: one model at a time", "C2": "SR: the original and one compressed model",
          "C3": "MR: several compressed models"}


def section(anchor, heading, brief, **parts):
    """One section for the template; brief: its name in the contents; parts: facts, notes, tables, figures, cards,
    sentences, whichever it has."""
    return {"id": anchor, "heading": heading, "brief": brief, **parts}


def block(caption, frame, folded=False):
    """A frame of text as a table for the template; folded away where it is a detail."""
    return {"caption": caption, "columns": list(frame.columns), "rows": frame.to_numpy().tolist(), "folded": folded}


def image(figure, alt):
    """A figure as an inline picture for the template."""
    # Percent-encoded: a quarter smaller than base64.
    return {"data": quote(figures.svg(figure), safe=" !$()*+,-./:;=?@_~"), "alt": alt}


def of_table(table):
    """A Table's caption and blocks; where it has blocks of an overview, the others are folded away."""
    overview = [heading for heading in table.blocks if heading in RATES.values()]
    return {"notes": [table.caption], "tables": [block(heading, frame, bool(overview) and heading not in overview)
                                                 for heading, frame in table.blocks.items()]}


def first_screen(evidence, judged):
    """The answer for the template: sentence, figure, the three claims, what is at chance; judged: of claims.json."""
    nothing = [f"{line}." for line in dict.fromkeys(
        line for one in evidence for line in at_chance_lines(one.run, [ORIGINAL]))]
    if judged is None:
        layout, *others = [one.run.layout for one in evidence]
        command = hints.module(layout, "evaluation.claims", *others)
        return {"sentences": [f"The attacker's best and the claims are not judged yet: run {command}", *nothing],
                "claims": [], "best": [], "rules": [], "figure": None}
    found, figure = [answer.sentence(judged), answer.asked(judged), *nothing], answer.figure(judged)
    figure = image(*figure) if figure else None
    parts = [{**one, "tables": [block(caption, frame) for caption, frame in one["tables"].items()]}
             for one in answer.claims(judged)]
    best = [block(caption, frame) for caption, frame in answer.best(judged).items()]
    return {"sentences": found, "figure": figure, "claims": parts, "best": best, "rules": RULES}


def drawn(found, judged):
    """Sections of figures: ROC with bands, AUC by model, score histograms; arguments as of `figures.roc_figure`."""
    panels = figures.roc_panels(found, judged)
    curves = [image(drawing.draw_roc({heading: panel}, "", bands=True),
                    f"ROC curves on logarithmic axes with 95% bands, {heading}; {'; '.join(panel[0])}")
              for heading, panel in panels.items()]
    bars = image(figures.auc_figure(found, judged), "AUC with 95% intervals as bars, of every model, group and the "
                                                 "attacker's best; the numbers are in the tables")
    made = [section("roc", "ROC curves", "ROC", figures=curves, notes=[
        "Both axes are logarithmic, so the left edge is what an attacker reaches with hardly any false alarm. Bands: "
        "95% of each curve's TPR at a given FPR, by bootstrap over members and non-members. Two dots on a dotted line: "
        "many rows of one score, which no threshold splits; the line is what a coin among them gets."]),
        section("auc", "AUC by model, group and the attacker's best", "AUC", figures=[bars], notes=[
            "Bars begin at a coin's 50%. The best is over all seeds that it was judged on, the rest of this run."
            if judged else "Bars begin at a coin's 50%."])]
    shown = {f"{short(attack)}, original": ("NR", str(ORIGINAL), attack) for attack in HISTOGRAMS}
    shown |= {f"{short(figures.SR_CURVE)}, original + {short(version)}": ("SR", str(version), figures.SR_CURVE)
              for version in list(found.sr)[:1]}
    pictures = [image(drawing.draw_histogram(found.scores[key], found.member, title),
                      f"Scores of members and non-members: {title}")
                for title, key in shown.items() if key in found.scores]
    if pictures:
        made.append(section("scores", "Scores of members and non-members", "Scores", figures=pictures, notes=[
            "An attack tells members from non-members as far as the two shapes differ. The middle 98% of the scores "
            "make the axis; the first and last bar hold what lies beyond."]))
    return made


def over_seeds(evidence):
    """The section on several runs: mean, spread and each seed's value of the main rows; none for a single run."""
    if len(evidence) < 2:
        return []
    check_together(evidence)
    seeds = [one.run.name for one in evidence]
    each = list(map(report_parts.main_rows, evidence))
    rows = {label: [found[label] for found in each] for label in each[0] if all(label in found for found in each)}
    if not rows:
        return []
    fewest = min(metrics["non_members"] for found in rows.values() for metrics in found)
    main = {label: found for label, found in rows.items() if label.endswith(", original") or label.startswith("MR, ")}
    shown = {rate: heading for rate, heading in RATES.items() if rate != "acc" and resolvable(rate, fewest)}
    few = seeds if len(seeds) <= FEW else []
    tables = [block(heading, report_parts.seeds_table(main, few, rate)) for rate, heading in shown.items() if main]
    tables += [block(f"{heading}, every attack", report_parts.seeds_table(rows, seeds, rate), bool(main))
               for rate, heading in shown.items()]
    points = {label: [metrics["auc"] for metrics in found] for label, found in (main or rows).items()}
    which, turns = figures.which(*(one.run for one in evidence)), len({one.run.settings.seed for one in evidence}) == 1
    picture = image(drawing.draw_seeds(points, f"AUC over {which.split(' of ')[0]}"),
                    "AUC of each attack, one point a seed or target, and the mean; the numbers are in the table")
    made = ("The models of one run are attacked in turn, the others being the shadows: the interval takes for "
            "independent what shares models and pictures. " if turns else
            "Everything was trained, split and attacked anew for each seed. ")
    return [section("seeds", f"Over {which}", "Targets" if turns else "Seeds", tables=tables, figures=[picture], notes=[
        f"{made}Spread is the standard deviation between them; with Student's t it gives the interval of the mean. The "
        f"sections below, but for the protocol's, are details of {'target' if turns else 'seed'} {seeds[0]}."])]


def sections(evidence, judged, data_dir=None):
    """Every section that the Evidence of these runs allows: over the seeds, then the first run's in detail."""
    first, found = evidence[0], over_seeds(evidence)
    run, tables = first.run, {table.name: table for table in build(first)}
    configs = {version: run.config(version) for version in run.versions()}
    if "models" in tables:
        found.append(section("models", "The models", "Models", **of_table(tables["models"])))
    found += [section(name.lower(), f"{name}, {heading}", name, **of_table(tables[name]))
              for name, heading in CLAIMS.items() if name in tables]
    if first.nr or first.sr:
        found += drawn(first, judged)
    if ORIGINAL in first.nr:
        found.append(section("exposed", "The members most exposed", "Exposed", **exposed.shown(first, data_dir)))
    ablation = report_parts.ablation(run)
    if ablation:
        found.append(section("ablation", "What the protocol is worth", "Protocol", notes=ablation["notes"], tables=[
            block(*table) for table in ablation["tables"]]))
    return [*found, section("run", "What was run", "Run", facts=report_parts.facts(run, configs), tables=[
        block("How the target's models were made", report_parts.stages(run, configs), True)] if configs else []),
        section("deviations", "Deviations and limits", "Limits",
                sentences=report_parts.deviations([one.run for one in evidence], configs, first.nr))]


def page(runs, data_dir=None):
    """The report of these runs as HTML; everything read from files is escaped."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.tests["number"] = lambda cell: re.fullmatch(NUMBER, str(cell)) is not None
    evidence, judged = list(map(read, runs)), claims.judged(*runs)
    return environment.get_template("report.html").render(
        title=f"CompLeak: {figures.where_from(*runs)}", answer=first_screen(evidence, judged),
        sections=sections(evidence, judged, data_dir), written=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"))


def save(runs, data_dir=None):
    """Write report.html beside the first of these runs; returns a line on it."""
    path = runs[0].layout.result(ORIGINAL, "report.html")
    content = page(runs, data_dir).encode("utf-8", "backslashreplace")
    with atomic(path) as beside:
        beside.write_bytes(content)
    return f"{path} written ({len(content) / 1e6:.1f} MB)"


def main(argv=None):
    p = parser(__doc__, several_runs=True)
    p.add_argument("--data_dir", default=None, help="copy of the pictures, to show the most exposed ones")
    args = p.parse_args(argv)
    print(save([open_run(args, folder) for folder in args.run_dir], args.data_dir))


if __name__ == "__main__":
    run_command(main)
