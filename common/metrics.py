"""ACC, AUC and TPR at a low FPR: the only place that computes them (common/intervals.py says how sure they are).

Everywhere scores [n] are real and high for members, member [n] is bool, and rates are fractions. What takes both raises
CompLeakError where their lengths differ, a score is NaN, or all points are of one kind.
"""
import numpy as np
from scipy.stats import rankdata

from common.errors import CompLeakError

LOW_FPR = 0.001
# What a result calls the TPR, and the FPR it is taken at.
FPRS = {"tpr": LOW_FPR, "tpr_1": 0.01}
RESOLVABLE_NON_MEMBERS = 1000


def checked(scores, member):
    """Scores as float64 and membership as bool; infinite scores are allowed, they have their place in the order."""
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
    """(values [g] float64, members [g], non-members [g]) at each distinct score, highest first."""
    scores, member = checked(scores, member)
    values, group = np.unique(scores, return_inverse=True)
    members = np.bincount(group[member], minlength=len(values))
    non_members = np.bincount(group[~member], minlength=len(values))
    return values[::-1], members[::-1], non_members[::-1]


def roc(scores, member):
    """The ROC curve (fpr [g+1], tpr [g+1]) from (0, 0) to (1, 1): a point a distinct score, so ties are taken whole."""
    _, members, non_members = counts_by_score(scores, member)
    tpr = np.concatenate([[0], np.cumsum(members)]) / members.sum()
    fpr = np.concatenate([[0], np.cumsum(non_members)]) / non_members.sum()
    return fpr, tpr


def auc(scores, member):
    """Area under the ROC curve: P(member above non-member), half for a tie."""
    scores, member = checked(scores, member)
    positives = int(member.sum())
    negatives = len(member) - positives
    pairs_won = rankdata(scores)[member].sum() - positives * (positives + 1) / 2
    return float(pairs_won / (positives * negatives))


def tpr_at_fpr(scores, member, fpr=LOW_FPR):
    """Highest TPR among the thresholds whose FPR is at most `fpr`, not interpolated (Carlini et al., S&P 2022, II-C).

    0 where even the highest score has too many non-members.
    """
    false_rates, true_rates = roc(scores, member)
    return float(true_rates[false_rates <= fpr].max())


def interpolated_tpr(scores, member, fpr=LOW_FPR):
    """TPR at exactly this FPR, linearly between the ROC's points, as the released protocol reads it.

    Along a tie it credits an attack with thresholds that it does not have.
    """
    return float(np.interp(fpr, *roc(scores, member)))


def percentile_tpr(scores, member, fpr=LOW_FPR):
    """Share of members strictly above the (1 − fpr) quantile of the non-members, as the released protocol reads RMIA's.

    The quantile lies between two non-members' scores.
    """
    scores, member = checked(scores, member)
    return float((scores[member] > np.quantile(scores[~member], 1 - fpr)).mean())


def allowed_false_positives(non_members, fpr):
    """How many of this many non-members may be above a threshold whose FPR is at most `fpr`, a fraction."""
    return int(np.flatnonzero(np.arange(non_members + 1) / non_members <= fpr)[-1])


def resolvable(rate, non_members):
    """Whether a rate ("acc", "auc", "tpr", "tpr_1") means anything: a TPR's FPR must allow one false positive."""
    return rate not in FPRS or allowed_false_positives(non_members, FPRS[rate]) > 0


def balanced_accuracy(decisions, member):
    """Mean accuracy on members and on non-members, of decisions [n] bool (True: said to be a member)."""
    decisions, member = checked(decisions, member)
    return float(balanced_accuracy_of(decisions[member].mean(), decisions[~member].mean()))


def balanced_accuracy_of(true_rate, false_rate):
    """Balanced accuracy from the shares of members and of non-members that are said to be members."""
    return (true_rate + 1 - false_rate) / 2
