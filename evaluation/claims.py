"""The paper's claims C1, C2 and C3 as tests on one or several runs (seeds): supported, contradicted or undecided."""
from attacks.arguments import open_run
from common.command import run as run_command
from common.errors import CompLeakError
from common.files import write_json
from common.metrics import resolvable
from common.paths import ORIGINAL
from evaluation import best
from evaluation.claim_pairs import CLAIMS, c1_pairs, c2_pairs, c3_pairs, expected_parts
from evaluation.claims_table import table_of
from evaluation.comparisons import (
    CONTRADICTED,
    EQUIVALENCE,
    SUPPORTED,
    UNDECIDED,
    compare,
    hardest,
    judge,
    parts,
    strictest,
)
from evaluation.evidence import (
    check_together,
    common_keys,
    mention_samia,
    origins,
    read_judged,
    read_some,
)
from evaluation.names import label, short
from evaluation.writing import screen, write
from models import hints
from models.arguments import parser
from models.compression import paper_versions
from models.record import say_at_chance

FORMAT = 4  # earlier ones lack the attacker's best, what attacks find beyond controls, or where their runs lie


# Judging.

def judge_runs(evidence):
    """The values of claims.json: every comparison, each claim's verdict and sentence, and the attacker's best.

    Raises UsageError for runs that cannot be combined, CompLeakError where they allow no comparison.
    """
    first = evidence[0]
    check_together(evidence)
    keys = common_keys(evidence)
    chosen = best.choose(evidence, keys)
    pairs = c1_pairs(keys) + c2_pairs(keys) + c3_pairs(keys, first.groups) + chosen.pairs
    if not pairs and not chosen.keys[0] and first.run.split.shadows:  # without one there is nothing to choose on
        raise CompLeakError(f"nothing to compare yet: run {hints.attacks(first.run.layout, 'NR', paper_versions())}")
    metrics = ["auc"]
    if all(resolvable("tpr", int((~one.member).sum())) for one in evidence):
        metrics.append("tpr")
    else:
        print("TPR at 0.1% FPR is not compared: it is not resolvable with fewer than 1,000 non-members")
    measured = {metric: chosen.measured(metric, evidence, pairs) for metric in metrics}
    comparisons = [plain(row) for metric in metrics for row in compare(
        metric, [pair for pair in pairs if metric == "auc" or pair.judged != EQUIVALENCE], measured[metric])]
    summed = measured
    if all(resolvable("tpr_1", int((~one.member).sum())) for one in evidence):  # to look at where few are scored
        summed = {**measured, "tpr_1": chosen.measured("tpr_1", evidence)}
    expected = expected_parts(first.run)
    places = origins([one.run for one in evidence])
    return {"format": FORMAT, "runs": [{**origin(one), **place} for one, place in zip(evidence, places, strict=True)],
            "best": digits(best.summary(chosen, evidence, summed)), "comparisons": comparisons,
            "verdicts": {claim: overall(claim, comparisons, expected)
                         for claim in sorted({pair.claim for pair in pairs})}}


def origin(one):
    """What claims.json says of a run: where its numbers come from."""
    settings = one.run.settings
    return {"seed": settings.seed, "name": one.run.name, "split": one.run.split.digest,
            "data": settings.data_label, "pools": settings.pools,
            "protocol": None if one.run.layout.is_own else settings.protocol,  # of models made elsewhere: not known
            "members": int(one.member.sum()), "non_members": int((~one.member).sum())}


def digits(value):
    """Plain values with six digits."""
    if isinstance(value, dict):
        return {name: digits(one) for name, one in value.items()}
    if isinstance(value, list):
        return list(map(digits, value))
    return float(f"{value:.6g}") if isinstance(value, float) else value


def plain(row):
    """A row ready for JSON: attacks in words, six digits, nothing that is empty but the spread of a single run."""
    row = {**row, "attack": label(row["attack"]), "against": label(row["against"])}
    return {name: digits(value) for name, value in row.items()
            if name == "spread" or (value is not None and name not in ("error", "needs_signal"))}


def overall(claim, rows, expected):
    """{"verdict", "text", "judged"} of one claim: by AUC the strictest of its parts; TPR's words stand beside it.

    expected: {(claim, way): parts of a whole run}. What could not be judged, a way or a part, is undecided, so half the
    evidence never supports a claim.
    """
    judged, sentences, ways = {}, [], CLAIMS[claim].ways
    for way, words_of_way in ways.items():
        mine = [part for part in parts(rows) if (part[0]["claim"], part[0]["judged"]) == (claim, way)]
        if not mine:
            sentences.append(f"{words_of_way}: {UNDECIDED} (0 of {expected[claim, way]})")
            continue
        by_auc, by_tpr = ([part for part in mine if part[0]["metric"] == metric] for metric in ("auc", "tpr"))
        missing = [UNDECIDED] * (expected[claim, way] - len(by_auc))
        words = [judge(part) for part in by_auc] + missing
        judged[way] = {"auc": strictest(words)}
        if by_tpr:
            judged[way]["tpr"] = strictest([*map(judge, by_tpr), *missing])
        count = f"{words.count(SUPPORTED)} of {len(words)}"
        if CONTRADICTED in words:
            count += f", {words.count(CONTRADICTED)} contradicted"
        if missing:
            count += f", {len(missing)} missing"
        sentences.append(f"{words_of_way}: {judged[way]['auc']} ({count}; {effect(by_auc)})"
                         + (f", by TPR at 0.1% FPR {judged[way]['tpr']}" if by_tpr else ""))
    word = strictest(judged[way]["auc"] if way in judged else UNDECIDED for way in ways)
    text = "; ".join(sentences)
    return {"verdict": word, "text": f"{claim} {word}. {text[:1].upper()}{text[1:]}.", "judged": judged}


def effect(found):
    """The range of the parts' hardest comparisons in words, in points of AUC."""
    worst = sorted((hardest(part) for part in found), key=lambda row: row["difference"])
    ends = [f"{100 * row['difference']:+z.1f}" for row in (worst[0], worst[-1])]
    against = dict.fromkeys(short(row["against"]) for row in (worst[0], worst[-1]))
    return f"{' to '.join(dict.fromkeys(ends))} points of AUC against {' and '.join(against)}"


# Files.

def judged(*runs):
    """The values of claims.json in the first run; None where there is none, or one of its runs' results have changed.

    Others are opened as far as they are not named here.
    """
    return read_judged(runs, "claims.json", "evaluation.claims",
                       lambda saved: saved.get("format") == FORMAT and saved["runs"])


def judge_and_save(runs):
    """Write claims.json and its table beside the first of some runs; returns the values. Errors as `judge_runs`."""
    evidence, layout = [read_some(run) for run in runs], runs[0].layout
    saved = judge_runs(evidence)
    write_json(layout.result(ORIGINAL, "claims.json"), saved)
    write(table_of(saved), layout.tables)
    for one in evidence:
        mention_samia(one)
    return saved


def main(argv=None):
    args = parser(__doc__, several_runs=True).parse_args(argv)
    runs = [open_run(args, folder) for folder in args.run_dir]
    saved, layout = judge_and_save(runs), runs[0].layout
    if saved["best"]:
        print(saved["best"]["text"])
    print("\n".join(f"{claim} {found['verdict']}: {CLAIMS[claim].words}" for claim, found in saved["verdicts"].items()))
    for run in runs:
        say_at_chance(run, run.versions())
    brief = table_of(saved, narrow=True)
    print("\n" + screen(brief, list(brief.blocks)))
    print(f"claims.json written to {layout.root()}, claims.md, .csv, .tex to {layout.tables}")


if __name__ == "__main__":
    run_command(main)
