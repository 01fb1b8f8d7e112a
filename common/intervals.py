"""How sure a number is: DeLong's variance for AUC, the stratified bootstrap for ACC and TPR, alone and paired.

scores, member, rates and errors are as in common/metrics.py, and intervals are [low, high].
"""
import numpy as np
from scipy.stats import rankdata, t

from common.errors import CompLeakError
from common.metrics import FPRS, allowed_false_positives, balanced_accuracy_of, checked

CONFIDENCE = 0.95
RESAMPLES = 1000
# Points times resamples held at once by the paired bootstrap: a million counts are 8 MB, which a cache still holds.
CHUNK_COUNTS = 1_000_000
# DeLong's components are multiples of 0.5 / n, so a smaller spread than this is rounding.
ROUNDING = 1e-12


def percentile_interval(replicates):
    """The 95% percentile interval of bootstrap replicates [r]."""
    tail = 100 * (1 - CONFIDENCE) / 2
    return np.percentile(replicates, [tail, 100 - tail]).tolist()


def normal_interval(value, error, df=np.inf):
    """The 95% interval of a value with a standard error: normal, or Student's with df degrees of freedom."""
    half_width = t.isf((1 - CONFIDENCE) / 2, df) * error
    return [float(value - half_width), float(value + half_width)]


def error_of_mean(values):
    """(standard error of the mean of values [n > 1], its degrees of freedom)."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))), len(values) - 1


def t_interval(values):
    """Student's 95% interval [low, high] of the mean of values [n], one a seed; None for a single one."""
    return normal_interval(np.mean(values), *error_of_mean(values)) if len(values) > 1 else None


def bootstrap_tpr(scores, member, fpr, rng, resamples):
    """TPR at an FPR in each of many stratified resamples, without drawing the resamples: [resamples].

    Members and non-members are resampled apart. With k false positives allowed, the TPR is the share of resampled
    members above the (k+1)-th highest resampled non-member. Resampling n sorted non-members picks positions floor(n·U)
    with U uniform, and the (k+1)-th smallest of n uniform numbers is Beta(k+1, n−k); each resampled member is then
    above it independently. So two draws have the plain bootstrap's distribution exactly.
    Source: order statistics of uniform numbers, David and Nagaraja, Order Statistics, 2003, section 2.1.
    """
    scores, member = checked(scores, member)
    members, non_members = np.sort(scores[member]), np.sort(scores[~member])[::-1]
    n, positives = len(non_members), len(members)
    allowed = allowed_false_positives(n, fpr)
    position = (n * rng.beta(allowed + 1, n - allowed, resamples)).astype(np.int64)
    above = positives - np.searchsorted(members, non_members[np.minimum(position, n - 1)], side="right")
    return rng.binomial(positives, above / positives) / positives


def bootstrap_acc(decisions, member, rng, resamples):
    """Balanced accuracy in each of many stratified resamples: [resamples]. decisions, member [n] bool."""
    decisions, member = np.asarray(decisions, dtype=bool), np.asarray(member, dtype=bool)
    said = [rng.binomial(side.sum(), decisions[side].mean(), resamples) / side.sum() for side in (member, ~member)]
    return balanced_accuracy_of(*said)


def bootstrap(scores, member, decisions, seed, resamples=RESAMPLES):
    """{"acc", "tpr", "tpr_1": 95% percentile interval} from stratified resamples; acc is None without decisions [n].

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    rng = np.random.default_rng(seed)
    acc = None if decisions is None else percentile_interval(bootstrap_acc(decisions, member, rng, resamples))
    tprs = {name: percentile_interval(bootstrap_tpr(scores, member, fpr, rng, resamples)) for name, fpr in FPRS.items()}
    return {"acc": acc, **tprs}


def resamples_of(member, rng, resamples):
    """Positions [n] of each stratified resample, one after the other: the plain bootstrap. member [n] bool."""
    sides = [np.flatnonzero(member), np.flatnonzero(~member)]
    for _ in range(resamples):
        yield np.concatenate([rng.choice(side, len(side)) for side in sides])


def paired_tprs(attacks, member, fpr, seed, resamples=RESAMPLES):
    """TPRs at an FPR of several attacks in the same stratified resamples of the points: [attacks, resamples].

    attacks: list of scores [n]. A difference of two rows is the paired bootstrap of the two attacks. Only each attack's
    highest scores are looked at, as many as the resamples need.
    """
    rng, found = np.random.default_rng(seed), []
    sorted_sides = [_descending(*checked(scores, member)) for scores in attacks]
    positives, negatives = int(np.sum(member)), int(np.sum(~np.asarray(member, dtype=bool)))
    allowed = allowed_false_positives(negatives, fpr)
    chunk = max(1, CHUNK_COUNTS // max(positives, negatives))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        of_members, of_non_members = (_resampled_counts(side, rows, rng) for side in (positives, negatives))
        found.append([_resampled_tpr(sides, of_members, of_non_members, allowed) for sides in sorted_sides])
    return np.concatenate(found, axis=1) / positives


def _descending(scores, member):
    """For members, then non-members: their order by descending score, and the scores in that order."""
    sides = []
    for side in (member, ~member):
        order = np.argsort(-scores[side], kind="stable")
        sides += [order, scores[side][order]]
    return sides


def _resampled_counts(n, rows, rng):
    """How often each of n points is in each of `rows` resamples of n: [n, rows]."""
    drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
    return np.ascontiguousarray(counts.T.astype(np.uint16))


def _resampled_tpr(sides, of_members, of_non_members, allowed):
    """Members above the threshold of each resample, counted: [rows]."""
    order, members, non_order, non_members = sides
    looked_at = 4 * (allowed + 10)
    while True:
        # The first place where more non-members than allowed have been passed.
        passed = np.cumsum(of_non_members[non_order[:looked_at]], axis=0, dtype=np.int32) > allowed
        if passed[-1].all():
            break
        looked_at *= 2
    above = np.searchsorted(-members, -non_members[passed.argmax(0)], side="left")
    counted = np.cumsum(of_members[order[: above.max()]], axis=0, dtype=np.int32)
    counted = np.concatenate([np.zeros((1, counted.shape[1]), np.int32), counted])
    return counted[above, np.arange(counted.shape[1])]


def delong_components(scores, member):
    """Each member's share of non-members below it, and each non-member's share of members above it, half for ties.

    ([members], [non-members]) float64; the mean of either is the AUC. CompLeakError for fewer than two of a kind, too.
    Source: DeLong et al., Biometrics 1988; midranks as in Sun and Xu, IEEE SPL 2014.
    """
    scores, member = checked(scores, member)
    positives = int(member.sum())
    negatives = len(member) - positives
    if min(positives, negatives) < 2:
        raise CompLeakError(f"a variance needs two members and two non-members, got {positives} and {negatives}")
    ranks = rankdata(scores)
    of_members = (ranks[member] - rankdata(scores[member])) / negatives
    of_non_members = 1 - (ranks[~member] - rankdata(scores[~member])) / positives
    return of_members, of_non_members


def delong_variance(of_members, of_non_members):
    """Variance of the AUC, or of a difference of AUCs, from DeLong's components; exactly 0 when they agree."""
    if max(np.ptp(of_members), np.ptp(of_non_members)) < ROUNDING:
        return 0.0
    return float(of_members.var(ddof=1) / len(of_members) + of_non_members.var(ddof=1) / len(of_non_members))


def auc_interval(scores, member):
    """DeLong's 95% interval of the AUC, cut to 0–1."""
    components = delong_components(scores, member)
    low, high = normal_interval(components[0].mean(), np.sqrt(delong_variance(*components)))
    return [max(0.0, low), min(1.0, high)]


def delong_difference(components, against):
    """(difference, variance) of two AUCs on the same points from their `delong_components`, first minus second."""
    of_members, of_non_members = (a - b for a, b in zip(components, against, strict=True))
    return float(of_members.mean()), delong_variance(of_members, of_non_members)


def two_sided(difference, error, df=np.inf):
    """Two-sided p of a difference with a standard error: normal, or Student's with df degrees of freedom.

    Without any spread a difference is certain (p = 0), and where there is none there is nothing to test (p = 1).
    """
    if error == 0:
        return float(abs(difference) < ROUNDING)
    return float(2 * t.sf(abs(difference) / error, df))


def delong(scores_a, scores_b, member):
    """DeLong's paired test of two attacks' AUCs: {"difference" (a minus b), "standard_error", "p" (`two_sided`)}."""
    difference, variance = delong_difference(delong_components(scores_a, member), delong_components(scores_b, member))
    error = float(np.sqrt(variance))
    return {"difference": difference, "standard_error": error, "p": two_sided(difference, error)}
