"""ACC, AUC and TPR at a low FPR, with their intervals: the only place that computes them."""

import numpy as np
from scipy.stats import norm, rankdata

from models.errors import CompLeakError

CONFIDENCE = 0.95
LOW_FPR = 0.001
RESOLVABLE_NON_MEMBERS = 1000
# Rows of resampled counts held at once: 64 rows of 20,000 points stay below 100 MB.
CHUNK_POINTS = 64 * 20_000
# DeLong's components are multiples of 0.5 / n, so a smaller spread than this is rounding.
ROUNDING = 1e-12


def checked(scores, member):
    """Scores as float64 and membership as bool, or one clear error.

    Infinite scores are allowed, since a probability of zero has an infinite loss and still has its place in
    the order.

    Args: scores [n] real, high for members; member [n] bool.
    Returns: scores [n] float64, member [n] bool.
    Raises: CompLeakError if the lengths differ, a score is NaN, or all points are of one kind.
    """
    scores = np.asarray(scores, dtype=np.float64)
    member = np.asarray(member).astype(bool)
    if scores.ndim != 1 or scores.shape != member.shape:
        raise CompLeakError(f"scores {scores.shape} and membership {member.shape} must be two rows of one length")
    if np.isnan(scores).any():
        raise CompLeakError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN")
    if member.all() or not member.any():
        raise CompLeakError(f"members and non-members are both needed, got {int(member.sum())} members in "
                            f"{len(member)} points")
    return scores, member


def counts_by_score(scores, member):
    """Members and non-members at each distinct score, highest score first.

    Args: scores [n], member [n] bool.
    Returns: values [g] float64 descending, members [g] int, non_members [g] int.
    Raises: CompLeakError as `checked`.
    """
    scores, member = checked(scores, member)
    values, group = np.unique(scores, return_inverse=True)
    members = np.bincount(group[member], minlength=len(values))
    non_members = np.bincount(group[~member], minlength=len(values))
    return values[::-1], members[::-1], non_members[::-1]


def roc(scores, member):
    """The ROC curve, one point per distinct score, so tied scores are taken whole.

    Args: scores [n], member [n] bool.
    Returns: fpr [g+1], tpr [g+1], fractions, from (0, 0) to (1, 1).
    Raises: CompLeakError as `checked`.
    """
    _, members, non_members = counts_by_score(scores, member)
    tpr = np.concatenate([[0], np.cumsum(members)]) / members.sum()
    fpr = np.concatenate([[0], np.cumsum(non_members)]) / non_members.sum()
    return fpr, tpr


def auc(scores, member):
    """Area under the ROC curve: P(member above non-member), half for a tie.

    Args: scores [n], member [n] bool.
    Returns: float, fraction.
    Raises: CompLeakError as `checked`.
    """
    scores, member = checked(scores, member)
    positives = int(member.sum())
    negatives = len(member) - positives
    pairs_won = rankdata(scores)[member].sum() - positives * (positives + 1) / 2
    return float(pairs_won / (positives * negatives))


def tpr_at_fpr(scores, member, fpr=LOW_FPR):
    """Highest TPR among the thresholds whose FPR is at most `fpr`, without interpolation.

    Args: scores [n], member [n] bool, fpr fraction.
    Returns: float, fraction; 0 when even the highest score has too many non-members.
    Raises: CompLeakError as `checked`.
    Source: Carlini et al., S&P 2022, section II-C, for reporting TPR at a low FPR.
    """
    false_rates, true_rates = roc(scores, member)
    return float(true_rates[false_rates <= fpr].max())


def balanced_accuracy(decisions, member):
    """Mean of the two classes' accuracies, which is the accuracy on a balanced set.

    Args: decisions [n] bool (True: said to be a member), member [n] bool.
    Returns: float, fraction.
    Raises: CompLeakError if the lengths differ or all points are of one kind.
    """
    decisions, member = checked(decisions, member)
    return float((decisions[member].mean() + 1 - decisions[~member].mean()) / 2)


def auc_tpr_of_counts(members, non_members, fpr=LOW_FPR):
    """AUC and TPR at an FPR of several samples at once, each given by its counts at the distinct scores.

    Args: members [r,g] and non_members [r,g] int, columns by descending score; fpr fraction.
    Returns: auc [r], tpr [r], fractions.
    """
    positives, negatives = members.sum(1), non_members.sum(1)
    above = np.cumsum(members, 1)
    # Twice the pairs won is an integer, so the sum is exact below 2^63.
    won = (non_members * (2 * above - members)).sum(1)
    allowed = np.cumsum(non_members, 1) / negatives[:, None] <= fpr
    tpr = np.where(allowed, above, 0).max(1) / positives
    return won / (2 * positives * negatives), tpr


def _resampled_counts(groups, bins, drawn):
    """How often each score occurs in each resample. groups [n] int, drawn [r,n] positions -> [r,bins]."""
    rows = np.arange(len(drawn))[:, None] * bins
    return np.bincount((groups[drawn] + rows).ravel(), minlength=len(drawn) * bins).reshape(-1, bins)


def bootstrap(scores, member, decisions, seed, resamples=1000):
    """95% percentile intervals of ACC, AUC and TPR at 0.1% FPR.

    Members and non-members are resampled apart, so their numbers stay fixed.

    Args: scores [n], member [n] bool, decisions [n] bool, seed int, resamples int.
    Returns: {"acc", "auc", "tpr"}, each [low, high] in fractions.
    Raises: CompLeakError as `checked`.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    scores, member = checked(scores, member)
    decisions = np.asarray(decisions).astype(bool)
    values, ascending = np.unique(scores, return_inverse=True)
    groups = len(values) - 1 - ascending
    rng = np.random.default_rng(seed)
    sides = [(groups[side], decisions[side]) for side in (member, ~member)]
    chunk = max(1, CHUNK_POINTS // len(scores))
    results = {"acc": [], "auc": [], "tpr": []}
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        counts, said_member = [], []
        for side_groups, side_decisions in sides:
            drawn = rng.integers(len(side_groups), size=(rows, len(side_groups)))
            counts.append(_resampled_counts(side_groups, len(values), drawn))
            said_member.append(side_decisions[drawn].mean(1))
        area, low_tpr = auc_tpr_of_counts(*counts)
        results["acc"].append((said_member[0] + 1 - said_member[1]) / 2)
        results["auc"].append(area)
        results["tpr"].append(low_tpr)
    tail = 100 * (1 - CONFIDENCE) / 2
    return {name: np.percentile(np.concatenate(parts), [tail, 100 - tail]).tolist()
            for name, parts in results.items()}


def _delong_components(scores, member):
    """Each member's share of non-members below it, and each non-member's share of members above it."""
    positives = int(member.sum())
    negatives = len(member) - positives
    if min(positives, negatives) < 2:
        raise CompLeakError(f"a variance needs two members and two non-members, got {positives} and {negatives}")
    ranks = rankdata(scores)
    of_members = (ranks[member] - rankdata(scores[member])) / negatives
    of_non_members = 1 - (ranks[~member] - rankdata(scores[~member])) / positives
    return of_members, of_non_members


def _variance_of_mean(of_members, of_non_members):
    """Variance of the AUC, or of a difference of AUCs, from DeLong's components; exactly 0 when they agree."""
    if max(np.ptp(of_members), np.ptp(of_non_members)) < ROUNDING:
        return 0.0
    return of_members.var(ddof=1) / len(of_members) + of_non_members.var(ddof=1) / len(of_non_members)


def delong(scores_a, scores_b, member):
    """DeLong's paired test of two attacks' AUCs on the same points.

    Where the difference has no variance (the same ranking twice) there is nothing to test, and p is 1.

    Args: scores_a [n], scores_b [n], member [n] bool.
    Returns: {"difference" (a minus b, fraction), "standard_error", "p" (two-sided)}.
    Raises: CompLeakError as `checked`, or with fewer than two members or non-members.
    Source: DeLong et al., Biometrics 1988; midranks as in Sun and Xu, IEEE SPL 2014.
    """
    parts = [_delong_components(*checked(scores, member)) for scores in (scores_a, scores_b)]
    of_members, of_non_members = (a - b for a, b in zip(*parts, strict=True))
    difference = float(of_members.mean())
    error = float(np.sqrt(_variance_of_mean(of_members, of_non_members)))
    p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else 1.0
    return {"difference": difference, "standard_error": error, "p": p}


def evaluate(scores, decisions, member, seed):
    """Everything that is reported of one attack on one set of points, ready for JSON.

    The AUC's interval is from DeLong's variance, those of ACC and TPR from the bootstrap. TPR is at 0.1% FPR
    and not resolvable with fewer than 1,000 non-members.

    Args: scores [n], decisions [n] bool, member [n] bool, seed int of the bootstrap.
    Returns: dict of floats, [low, high] lists, a bool and two counts; all rates are fractions.
    Raises: CompLeakError as `checked`, or with fewer than two members or non-members.
    """
    scores, member = checked(scores, member)
    decisions = np.asarray(decisions).astype(bool)
    intervals = bootstrap(scores, member, decisions, seed)
    area = auc(scores, member)
    half_width = norm.isf((1 - CONFIDENCE) / 2) * np.sqrt(_variance_of_mean(*_delong_components(scores, member)))
    non_members = int((~member).sum())
    return {
        "acc": balanced_accuracy(decisions, member), "acc_interval": intervals["acc"],
        "auc": area, "auc_interval": [float(max(0.0, area - half_width)), float(min(1.0, area + half_width))],
        "tpr": tpr_at_fpr(scores, member), "tpr_interval": intervals["tpr"],
        "tpr_resolvable": non_members >= RESOLVABLE_NON_MEMBERS,
        "fpr_of_decision": float(decisions[~member].mean()),
        "members": int(member.sum()), "non_members": non_members,
    }
