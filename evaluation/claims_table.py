"""claims.json as a table: the attacker's best, verdicts, each part's hardest comparison, and the rules."""
import pandas as pd

from common.paths import ORIGINAL
from data.splits import DISJOINT
from evaluation.best import per_cent
from evaluation.comparisons import (
    BEST,
    CONTRADICTED,
    EQUIVALENCE,
    MARGIN,
    SAME_KNOWLEDGE,
    SUPPORTED,
    hardest,
    judge,
    parts,
)
from evaluation.names import ROWS, runs_in_words, short
from evaluation.writing import Table, flat, with_interval

METRICS = {"auc": "AUC", "tpr": "TPR at 0.1% FPR"}
RATES = {**METRICS, "tpr_1": "TPR at 1% FPR"}
RULES = (
    "Two attacks are compared on the same points of the target: AUC by DeLong's test, TPR at 0.1% FPR by the paired "
    "stratified bootstrap (p from its standard error).",
    "Over several seeds: the mean of the runs' differences, with the mean of their variances over the number of runs,"
    " so intervals and p speak of these trained models, and the spread between seeds (standard deviation) stands "
    "apart; where targets of one run share pictures, what a picture adds to their AUCs is summed before it is squared, "
    "and interval and p are Student's over the targets where that interval is wider. p is corrected by Holm, one "
    "family for each claim and metric; 95% intervals are of each comparison by itself.",
    "A comparison is supported (contradicted) when its corrected p is below 0.05 and the difference lies on the "
    "claim's side (the other side), else undecided.",
    "C1: each NR attack on 90% pruned and 4 centroids must find less than on the original, where it finds anything "
    "there (its interval does not reach chance); on 60% pruned, int8 and 16 centroids its AUC must be within "
    f"±{MARGIN:g} by two one-sided tests (contradicted: outside it, by a p of its own, then shown).",
    "C2, same family: SR1 and SR2, LR and RF, against the same features of one model given twice, of the original and"
    " of the compressed model, confidence and calibrated against themselves on either; every NR attack: SR2 (RF) "
    "against every NR attack on either, but LiRA and calibrated_all.",
    "C3, same family: MR with the original against SR2 (RF) of each of its models, MR without against train_based_2 "
    "(RF) of each, and both against MR of the original repeated; every NR attack: MR against these on the models it "
    "is given.",
    "Same knowledge: fitted (on a shadow), reference (shadows answer the scored points too); of "
    "each level the attack of highest AUC on the shadow, on either side and for each seed, is taken to the target.",
    "Attacker's best: the same over all attacks, models and groups of NR, of SR, of MR; SAMIA and RMIA's population "
    "score, which have no scores on the shadow, and controls are no candidates.",
    "All comparisons of a line must be supported for the line to be, one contradicted contradicts it, else it is "
    "undecided; likewise from lines to claims, by AUC; what is missing is undecided.",
    "No attack is picked by its result: each line shows its least favourable comparison, and each sentence the range "
    "of these, only for the reader.")


def table_of(saved, narrow=False):
    """The Table of claims.json's values: every comparison in the frame (fractions), a line for each part as text.

    narrow: for a screen, by AUC alone and in fewer columns.
    """
    metrics = ["auc"] if narrow else list(METRICS)
    blocks = {**best_block(saved, metrics if narrow else RATES), **verdicts(saved)}
    for metric in metrics:
        if len(text := lines(saved, metric)):
            blocks[f"{METRICS[metric]}, in points"] = _narrow(text) if narrow else text
    caption = _caption(saved)
    if not narrow:
        answer = f"{saved['best']['text']}. " if saved["best"] else ""
        caption = " ".join([answer + caption, *(verdict["text"] for verdict in saved["verdicts"].values())])
    return Table("claims", caption, frame(saved), blocks, f"Rules. {' '.join(RULES)}")


def _narrow(text):
    # SR always has the original beside the version that is named.
    against = text["hardest against"].str.replace("original + ", "").str.replace(" on ", ": ")
    return text.assign(**{"hardest against": against})[["claim", "what", "judged by", "hardest against", "difference",
                                                        "p Holm", "verdict"]]


def _caption(saved):
    first = saved["runs"][0]
    pools = "" if first.get("pools", DISJOINT) == DISJOINT else f", pools {first['pools']}"
    return (f"The paper's claims, judged on {runs_in_words(saved['runs'])}: {first['data']}, "
            f"{first['members']:,} members and {first['non_members']:,} non-members scored in each, protocol "
            f"{asked_of(first)}{pools}.")


def asked_of(run):
    """The protocol of a run of claims.json in words; of models made elsewhere it is not known."""
    return run["protocol"] or "not known"


def best_block(saved, metrics=RATES):
    """{heading: frame}: the attacker's best, a line a setting, then what each step adds; what attacks find beyond
    controls, where there are some. {} without a best."""
    found = saved["best"]
    if not found:
        return {}
    rows = []
    for setting, words in ROWS.items():
        if setting not in found:
            continue
        attacks = dict.fromkeys(short(run[setting]["attack"]) for run in found["chosen"])
        rows.append({"the attacker's best": words, "chosen on the shadow": "; ".join(attacks),
                     **_rates(found[setting], metrics)})
    rows += [{"the attacker's best": step, "chosen on the shadow": "-", **_rates(rates, metrics, "+")}
             for step, rates in found["differences"].items()]
    blocks = {f"{BEST.capitalize()}, per cent and points": pd.DataFrame(rows)}
    if beyond := found["beyond controls"]:
        blocks["Beyond the same attack where nothing is compressed, in points"] = pd.DataFrame(
            [{"attack": short(row["attack"]), "against": short(row["against"]), **_rates(row, metrics, "+")}
             for row in beyond])
    return blocks


def _rates(rates, metrics, sign=""):
    return {RATES[metric]: per_cent(rates[metric], sign) if metric in rates else "-" for metric in metrics}


def frame(saved):
    """One row a comparison, fractions."""
    return pd.DataFrame(map(flat, saved["comparisons"])).drop(columns="sign", errors="ignore")


def verdicts(saved):
    """{heading: frame}: a line for each claim and way of judging it, and the claim's own word; {} for one version."""
    rows = []
    for claim, found in saved["verdicts"].items():
        for way, words in found["judged"].items():
            by_metric = {name: words.get(key, "-") for key, name in METRICS.items()}
            rows.append({"claim": claim, "judged by": way, **by_metric, "the claim": found["verdict"]})
    return {"Verdicts": pd.DataFrame(rows)} if rows else {}


def lines(saved, metric):
    """A line for each part: its hardest comparison, difference with interval in points, p, and the part's verdict."""
    rows = []
    for part in parts(row for row in saved["comparisons"] if row["metric"] == metric):
        row, counted = hardest(part), [one for one in part if one["counts"]]
        p, p_holm = row["p"], row["p_holm"]
        if row["judged"] == EQUIVALENCE and row["verdict"] == CONTRADICTED:
            p, p_holm = row["p_outside"], row["p_outside_holm"]
        each = " ".join(f"{100 * value:+.2f}" for value in row["per_seed"])
        rows.append({
            "claim": row["claim"], "what": _what(row), "judged by": row["judged"],
            "hardest against": _against(row),
            "difference": with_interval(row["difference"], row["interval"], sign="+"), "p": _p(p), "p Holm": _p(p_holm),
            "per seed": each,
            "spread": "-" if row["spread"] is None else f"{100 * row['spread']:.2f}",
            "supported": f"{sum(one['verdict'] == SUPPORTED for one in counted)} of {len(counted)}",
            "verdict": judge(part)})
    return pd.DataFrame(rows)


def _what(row):
    """What a part judges, narrow: the compressed model, and for C2 the attack; MR's group by itself."""
    if row["claim"] != "C2":
        return short(row["version"]).removesuffix(" the original") + (
            f" (±{100 * MARGIN:g})" if row["judged"] == EQUIVALENCE else "")
    return f"{short(row['version'])}, {short(row['attack'].split(' on ')[0])}"


def _against(row):
    """What a part's hardest comparison is with, narrow: of SR the compressed model, of chosen ones the attack alone."""
    if row["judged"] in (SAME_KNOWLEDGE, BEST):
        return short(row["against"].split(" on ")[0].split(" with ")[0])
    return short(row["against"].rsplit(", ", 1)[-1].replace(f" on {ORIGINAL} + ", " with "))


def _p(value):
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"
