"""One self-contained report.html of a run from its saved results: tables, figures, exposed examples, deviations."""
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import jinja2

from attacks.arguments import open_run
from attacks.saved import read_configs, read_results
from common.command import run as run_command
from common.files import atomic
from common.paths import ORIGINAL
from evaluation import claims, differences, figures, report_parts
from evaluation.evidence import check_together, read
from evaluation.figures import SR_CURVE
from evaluation.names import short
from evaluation.svg import svg
from evaluation.tables import RATES, build
from models.arguments import parser

OVERVIEW = tuple(RATES.values())
HISTOGRAMS = ("metric_based_2", "train_based_2 (RF)", "RMIA")
# A cell that is set as a number: "61.23", "+1.2 [0.4, 2.0]", "1,234 s", "-".
NUMBER = r"-|[+<-]?[\d.,e-]+( s)?( \[[^\]]*\])?"
CLAIMS = {"C1": "NR: one model at a time", "C2": "SR: the original and one compressed model",
          "C3": "MR: several compressed models"}


def section(anchor, heading, **parts):
    """One section for the template; parts: facts, notes, tables, figures, exposed, sentences, whichever it has."""
    return {"id": anchor, "heading": heading, **parts}


def block(caption, frame, folded=False):
    """A frame of text as a table for the template; folded away where it is a detail."""
    return {"caption": caption, "columns": list(frame.columns), "rows": frame.to_numpy().tolist(), "folded": folded}


def image(figure, alt):
    """A figure as an inline picture for the template; one that is wide scrolls on a narrow screen."""
    # Percent-encoded: a quarter smaller than base64.
    return {"data": quote(svg(figure), safe=" !$()*+,-./:;=?@_~"), "alt": alt,
            "wide": figure.get_figwidth() > 5}


def of_table(table, overview=OVERVIEW):
    """A Table's caption and blocks; where it has blocks of an overview, the others are folded away."""
    overview = [heading for heading in table.blocks if heading in overview]
    return {"notes": [table.caption], "tables": [block(heading, frame, bool(overview) and heading not in overview)
                                                 for heading, frame in table.blocks.items()]}


def drawn(run, nr, sr):
    """Sections of figures: ROC with bands, AUC by model, score histograms."""
    panels = figures.roc_panels(run, (nr, sr))
    curves = [image(figures.draw_roc({heading: panel}, "", bands=True),
                    f"ROC curves on logarithmic axes with 95% bands, {heading}: {', '.join(panel[0])}")
              for heading, panel in panels.items()]
    bars = image(figures.auc_figure(run, (nr, sr)),
                 f"AUC with 95% intervals of {', '.join(figures.BARS)} on every model; the numbers are in C1 and C2")
    found = [section("roc", "ROC curves", figures=curves, notes=[
        "Both axes are logarithmic, so the left edge is what an attacker reaches with hardly any false alarm. Bands: "
        "95% of each curve's TPR at a given FPR, by bootstrap over members and non-members."]),
        section("auc", "AUC against sparsity, bit width and centroids", figures=[bars])]
    shown = [(f"{attack}, original", *_scores(run, ORIGINAL, "NR", nr[ORIGINAL], attack)) for attack in HISTOGRAMS
             if ORIGINAL in nr and attack in nr[ORIGINAL]["attacks"]]
    shown += [(f"{SR_CURVE}, original + {short(str(version))}", *_scores(run, version, "SR", sr[version], SR_CURVE))
              for version in list(sr)[:1]]
    if shown:
        pictures = [image(figures.draw_histogram(scores, member, title), f"Scores of members and non-members: {title}")
                    for title, scores, member in shown]
        found.append(section("scores", "Scores of members and non-members", figures=pictures, notes=[
            "An attack tells members from non-members as far as the two shapes differ. The middle 98% of the scores "
            "make the axis; the first and last bar hold what lies beyond."]))
    return found


def _scores(run, version, setting, result, attack):
    scores, member = figures.saved_scores(run, version, setting, result, [attack])
    return scores[attack], member


def exposed(run, nr, data_dir):
    """The section on the members that stand out most; none where there are no such scores."""
    data, why = report_parts.pictures(run, data_dir)
    found = report_parts.exposed(run, nr, data)
    if found is None:
        return []
    notes = [f"The {len(found['rows'])} members of the target with the highest {found['attack']} score on the "
             "original, and their score on each model; in brackets the share of non-members that score as high or "
             "higher: the false alarms that an attacker accepts who accuses this one. Chosen by their scores, among "
             "members alone."]
    return [section("exposed", "The members most exposed", exposed=found,
                    notes=notes + ([f"Pictures are not shown: {why}."] if why else []))]


def over_seeds(runs):
    """The section on several runs: mean, spread and each seed's value of the main rows; none for a single run."""
    if len(runs) < 2:
        return []
    check_together([read(run) for run in runs])
    seeds = [run.settings.seed for run in runs]
    each = [report_parts.main_rows(run) for run in runs]
    rows = {label: [found[label] for found in each] for label in each[0] if all(label in found for found in each)}
    if not rows:
        return []
    tables = [block("AUC (%)", report_parts.seeds_table(rows, seeds, "auc"))]
    if all(metrics["tpr_resolvable"] for found in rows.values() for metrics in found):
        tables.append(block("TPR at 0.1% FPR (%)", report_parts.seeds_table(rows, seeds, "tpr")))
    points = {label: [metrics["auc"] for metrics in found] for label, found in rows.items()}
    picture = image(figures.draw_seeds(points, f"AUC over {len(seeds)} seeds"),
                    "AUC of each attack, one point a seed, and the mean; the numbers are in the table")
    return [section("seeds", "Over the seeds", tables=tables, figures=[picture], notes=[
        f"Seeds {', '.join(map(str, seeds))}: everything was trained, split and attacked anew for each. Spread is the "
        "standard deviation between seeds. The other sections, but for claims and protocol, are of the first run."])]


def sections(runs, data_dir=None):
    """Every section that the files of these runs allow, the first run's in detail."""
    run = runs[0]
    configs, nr, sr = read_configs(run), read_results(run, "NR"), read_results(run, "SR")
    tables = {table.name: table for table in build(run)}
    found = [section("run", "What was run", facts=report_parts.facts(run, configs), tables=[
        block("How the target's models were made", report_parts.stages(run, configs), True)] if configs else [])]
    if "models" in tables:
        found.append(section("models", "The models", **of_table(tables["models"])))
    verdicts, ablation = claims.table(run), differences.table(run)
    if verdicts is not None:
        found.append(section("claims", "The claims and their verdicts", **of_table(verdicts, overview=["Verdicts"])))
    found += over_seeds(runs)
    found += [section(name.lower(), f"{name}, {heading}", **of_table(tables[name]))
              for name, heading in CLAIMS.items() if name in tables]
    if nr or sr:
        found += drawn(run, nr, sr)
    found += exposed(run, nr, data_dir)
    if ablation is not None:
        found.append(section("ablation", "What the protocol is worth", **of_table(ablation)))
    return [*found, section("deviations", "Deviations and limits",
                            sentences=report_parts.deviations(runs, configs, nr))]


def page(runs, data_dir=None):
    """The report of these runs as HTML; everything read from files is escaped."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.tests["number"] = lambda cell: re.fullmatch(NUMBER, str(cell)) is not None
    return environment.get_template("report.html").render(
        title=f"CompLeak: {figures.where_from(runs[0])}", sections=sections(runs, data_dir),
        written=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"))


def main(argv=None):
    p = parser(__doc__, several_runs=True)
    p.add_argument("--data_dir", default=None, help="copy of the pictures, to show the most exposed ones")
    args = p.parse_args(argv)
    runs = [open_run(args, folder) for folder in args.run_dir]
    path = runs[0].layout.result(ORIGINAL, "report.html")
    text = page(runs, args.data_dir)
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")
    print(f"{path} written ({len(text.encode()) / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_command(main)
