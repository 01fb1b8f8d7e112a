"""Attacks compared on the same points over one or several runs: differences, intervals, tests, and one word each."""
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import t

from common.intervals import (
    delong_components,
    delong_difference,
    error_of_mean,
    normal_interval,
    paired_tprs,
    percentile_interval,
    two_sided,
)
from common.metrics import FPRS, LOW_FPR, tpr_at_fpr

ALPHA = 0.05
# Two AUCs closer than this count as the same.
MARGIN = 0.01
CHANCE = {"auc": 0.5, "tpr": LOW_FPR}
RESAMPLES = 2000
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
SAME_FAMILY, EVERY_NR, EQUIVALENCE = "same family", "every NR attack", "equivalence"
SAME_KNOWLEDGE, BEST = "same knowledge", "attacker's best"
PICTURES = "pictures"  # in what `measure` gives: (of members, of non-members), where runs are asked about the same ones


@dataclass(frozen=True)
class Pair:
    """One comparison that a claim makes: it says that attack minus against is above 0 (sign 1), below 0 (sign −1), or
    within ±MARGIN (judged EQUIVALENCE).

    attack, against: (setting, model, attack) each. Pairs with the same part are judged together. needs_signal: nothing
    can be less than chance, so a pair whose `against` sees nothing cannot speak for the claim.
    """

    claim: str
    version: str
    judged: str
    attack: tuple
    against: tuple
    sign: int = 1
    needs_signal: bool = False


# From scores to numbers: one dictionary a run, then one comparison over all runs.

def measure(metric, scores, member, keys, seed, resamples=RESAMPLES):
    """What comparisons of these attacks need of one run: {key: DeLong's components}, or {key: (TPR, [resamples])}.

    scores: {key: [n]}; member [n] bool; metric "auc", "tpr" or "tpr_1" (all attacks in the same resamples).
    """
    if metric == "auc" or not keys:
        return {key: delong_components(scores[key], member) for key in keys}
    fpr = FPRS[metric]
    replicates = paired_tprs([scores[key] for key in keys], member, fpr, seed, resamples)
    return {key: (tpr_at_fpr(scores[key], member, fpr), row) for key, row in zip(keys, replicates, strict=True)}


def combine(values, variances):
    """(mean of the runs' values, its standard error): each run's points are drawn anew, so variances add up.

    The error is that of these models' numbers; how far models of other seeds differ is the spread, reported apart.
    """
    return float(np.mean(values)), float(np.sqrt(np.mean(variances) / len(variances)))


def shared_error(pairs, pictures):
    """The standard error of a mean of AUCs, or of their differences, over runs that share pictures.

    What a picture adds to every run's AUC is summed before it is squared, so luck with a picture does not average out.
    With pictures of its own in each run it is that of `combine`.

    pairs: for each run the DeLong components of an attack and of the other (or zeros); pictures: PICTURES of each run.
    Source: DeLong et al., Biometrics 1988, for the components; clustered as in Obuchowski, Biometrics 1997.
    """
    share = np.zeros(1 + max(rows.max() for kinds in pictures for rows in kinds))
    for (one, other), kinds in zip(pairs, pictures, strict=True):
        for a, b, rows in zip(one, other, kinds, strict=True):
            share[rows] += (a - b - np.mean(a - b)) / np.sqrt(len(rows) * (len(rows) - 1))
    return float(np.sqrt((share ** 2).sum()) / len(pairs))


def over_runs(metric, measured, attack, against=None):
    """{"mean", "error", "df", "interval", "per_seed"} over runs of an attack's AUC or TPR, or of what it finds beyond
    another; fractions. measured: one dict a run; df: degrees of freedom of the error.

    AUC: DeLong's variance of each run, or `shared_error`, a normal interval. TPR: each run's bootstrap, paired where it
    is a difference, replicates averaged over runs, a percentile interval. Scores of different runs never meet. Of
    targets that share pictures error and interval are Student's over the targets where that is wider.
    """
    pairs = [(run[attack], run[against] if against else (0, 0)) for run in measured]
    shared = all(PICTURES in run for run in measured)
    if metric == "auc":
        per_seed, variances = zip(*(delong_difference(*pair) for pair in pairs), strict=True)
        mean, error = combine(per_seed, variances)
        if shared:
            error = shared_error(pairs, [run[PICTURES] for run in measured])
        interval = normal_interval(mean, error)
    else:
        per_seed = [one[0] - other[0] for one, other in pairs]
        replicates = np.mean([one[1] - other[1] for one, other in pairs], axis=0)
        mean, error, interval = float(np.mean(per_seed)), float(replicates.std(ddof=1)), percentile_interval(replicates)
    found = {"mean": mean, "error": error, "df": np.inf, "interval": interval, "per_seed": list(per_seed)}
    if shared and len(pairs) > 1:
        between, df = error_of_mean(per_seed)
        wide = normal_interval(mean, between, df)
        if np.ptp(wide) > np.ptp(interval):
            found |= {"error": between, "df": df, "interval": wide}
    return found


def sees_nothing(metric, measured, key):
    """Whether the 95% interval of an attack's own AUC or TPR, over runs, reaches down to chance."""
    return over_runs(metric, measured, key)["interval"][0] <= CHANCE[metric]


# Tests.

def holm(p):
    """Holm's adjusted p-values [n] of p-values [n]: the family-wise error stays below the level they are read at.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, stepped)
    return adjusted


def equivalence(mean, error, margin=MARGIN, df=np.inf):
    """(p that it is inside ±margin by two one-sided tests, p that it is outside), for a difference, its error and df.

    The first is small when the difference is surely inside, the second when it is surely outside.
    Source: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987.
    """
    room = margin - abs(mean)
    if error == 0:
        return (0.0, 1.0) if room > 0 else (1.0, float(room == 0))
    # The nearer bound gives the larger of the two one-sided p-values.
    return float(t.sf(room / error, df)), float(min(1, 2 * t.sf(-room / error, df)))


def compare(metric, pairs, measured):
    """One row (dict, ready for JSON) a pair: difference, interval, p, p after Holm, verdict; fractions throughout.

    Holm's family is the pairs of one claim. A pair is supported when its p after Holm is below 0.05 and the difference
    lies on the claim's side, contradicted when it lies on the other side, else undecided. For equivalence p is that of
    two one-sided tests, and it is contradicted when the difference is outside the margin, by a p of its own
    (`p_outside_holm`). A row that does not count (`needs_signal` without a signal) keeps its own verdict.
    """
    rows, blind = [], {}
    for pair in pairs:
        found = over_runs(metric, measured, pair.attack, pair.against)
        difference, df, outside = found.pop("mean"), found.pop("df"), None
        if pair.judged == EQUIVALENCE:
            p, outside = equivalence(difference, found["error"], df=df)
        else:
            p = two_sided(difference, found["error"], df)
        if pair.needs_signal and pair.against not in blind:
            blind[pair.against] = sees_nothing(metric, measured, pair.against)
        per_seed = found["per_seed"]
        spread = float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None
        rows.append({**asdict(pair), "metric": metric, "difference": difference, **found, "spread": spread, "p": p,
                     "p_outside": outside, "counts": not (pair.needs_signal and blind[pair.against])})
    for claim in dict.fromkeys(pair.claim for pair in pairs):
        family = [row for row in rows if row["claim"] == claim]
        _adjust(family, "p", "p_holm")
        _adjust([row for row in family if row["p_outside"] is not None], "p_outside", "p_outside_holm")
    return [{**row, "verdict": verdict(row)} for row in rows]


def _adjust(rows, key, into):
    for row, adjusted in zip(rows, holm([row[key] for row in rows]), strict=True):
        row[into] = float(adjusted)


def verdict(row):
    """The word for one comparison (see `compare`)."""
    if row["judged"] == EQUIVALENCE:
        if row["p_holm"] < ALPHA:
            return SUPPORTED
        return CONTRADICTED if row["p_outside_holm"] < ALPHA else UNDECIDED
    if row["p_holm"] >= ALPHA:
        return UNDECIDED
    return SUPPORTED if row["sign"] * row["difference"] > 0 else CONTRADICTED


# From comparisons to parts, and from parts to a claim.

def parts(rows):
    """Rows that are judged together: lists of one claim, version, way of judging, metric, and for SR and MR attack."""
    found = {}
    for row in rows:
        attack = None if row["claim"] == "C1" else row["attack"]
        found.setdefault((row["claim"], row["version"], row["judged"], row["metric"], attack), []).append(row)
    return list(found.values())


def strictest(verdicts):
    """Supported only if all are, contradicted if any is, else (or where there are none) undecided."""
    verdicts = list(verdicts)
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return SUPPORTED if verdicts and set(verdicts) == {SUPPORTED} else UNDECIDED


def judge(rows):
    """The verdict of one part from its comparisons: the strictest of those that count and of any contradiction."""
    return strictest(row["verdict"] for row in rows if row["counts"] or row["verdict"] == CONTRADICTED)


def hardest(rows):
    """The comparison of a part that speaks least for the claim: for the reader, no verdict depends on it."""
    rows = [row for row in rows if row["counts"]] or rows
    if rows[0]["judged"] == EQUIVALENCE:
        return max(rows, key=lambda row: abs(row["difference"]))
    return min(rows, key=lambda row: row["sign"] * row["difference"])
