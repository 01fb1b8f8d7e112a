"""Attacks that compare one number with a threshold, and the thresholds themselves.

Everywhere posteriors [n,c], whose rows sum to 1 · labels [n] int · scores [n], high for members · member [n] bool.
"""

import numpy as np

from attacks.attack import NONE, Attack, Scored
from common.errors import CompLeakError
from common.metrics import counts_by_score


def _logs_and_rests(posteriors):
    """ln p, 1 - p and ln(1 - p), exact to rounding even where p is within 1e-16 of 1.

    For the likeliest class the rest is summed from the other classes: 1 - p would lose its digits there, and
    confident predictions, which are most members, would change places. Rounding depends on the order of the columns,
    so callers sort them: equal posteriors must give equal scores, whatever class each belongs to. Three arrays [n,c]
    float64, -inf where a probability or a rest is 0.
    """
    top = np.arange(len(posteriors)), posteriors.argmax(1)
    others = posteriors.copy()
    others[top] = 0
    rests = 1 - posteriors
    rests[top] = others.sum(1)
    with np.errstate(divide="ignore"):
        logs, log_rests = np.log(posteriors), np.log1p(-others)
        logs[top] = np.log1p(-rests[top])
        log_rests[top] = np.log(rests[top])
    return logs, rests, log_rests


def entropy_score(posteriors):
    """Negative prediction entropy, the sum over classes of p ln p: [n] float64 in nats, at most 0.

    Source: Salem et al., NDSS 2019; Song and Mittal, USENIX Security 2021, section 4.1.
    """
    posteriors = np.sort(np.asarray(posteriors, dtype=np.float64), axis=1)
    logs, _, _ = _logs_and_rests(posteriors)
    return _product(posteriors, logs).sum(1)


def modified_entropy_score(posteriors, labels):
    """Negative modified entropy, (1 - p_y) ln p_y + the sum over the other classes of p_c ln(1 - p_c).

    [n] float64 in nats, at most 0; -inf where the label's posterior is 0.
    Source: Song and Mittal, USENIX Security 2021, section 4.1.
    """
    ordered = np.array(posteriors, dtype=np.float64)
    true = np.arange(len(labels)), labels
    of_label = ordered[true]
    ordered[true] = -np.inf  # the label first, the other classes ascending
    ordered.sort(axis=1)
    ordered[:, 0] = of_label
    logs, rests, log_rests = _logs_and_rests(ordered)
    terms = _product(ordered, log_rests)
    terms[:, 0] = _product(rests[:, 0], logs[:, 0])
    return terms.sum(1)


def _product(weights, logs):
    """weights · logs with 0 · (-inf) = 0, the limit of p ln p."""
    return weights * np.where(weights == 0, 0.0, logs)


def loss_score(losses):
    """Negative cross-entropy. losses [n] in nats -> [n] float64. Source: Yeom et al., CSF 2018, section III."""
    return -np.asarray(losses, dtype=np.float64)


def correctness_score(logits, labels):
    """1 where the largest logit is the label's, else 0. logits [n,c], labels [n] -> [n] float64.

    Source: Yeom et al., CSF 2018, section III.
    """
    return (np.argmax(logits, axis=1) == labels).astype(np.float64)


def fit_threshold(scores, member):
    """The observed score t whose rule score >= t has the highest balanced accuracy; the lowest one if several.

    CompLeakError on NaN scores, or when all points are members or all are non-members.
    """
    values, members, non_members = counts_by_score(scores, member)
    # The gain in whole numbers: balanced accuracies that are equal must not differ by rounding.
    gain = np.cumsum(members) * non_members.sum() - np.cumsum(non_members) * members.sum()
    return float(values[np.flatnonzero(gain == gain.max())[-1]])


def fit_class_thresholds(scores, member, labels, num_classes):
    """`fit_threshold` for each class, [num_classes]; one without members or non-members takes the global threshold.

    The decision is scores >= thresholds[labels]. CompLeakError also for a label outside 0..num_classes-1.
    Source: Song and Mittal, USENIX Security 2021, section 4.1.
    """
    scores, member, labels = np.asarray(scores), np.asarray(member).astype(bool), np.asarray(labels)
    if labels.min() < 0 or labels.max() >= num_classes:
        raise CompLeakError(f"labels run from {labels.min()} to {labels.max()}, outside 0..{num_classes - 1}")
    thresholds = np.full(num_classes, fit_threshold(scores, member))
    for label in range(num_classes):
        mine = labels == label
        if member[mine].any() and not member[mine].all():
            thresholds[label] = fit_threshold(scores[mine], member[mine])
    return thresholds


# The attacks.

def _attack(name, score, per_class, **entry):
    """score: Answers → [m]; per_class: whether each class has a threshold of its own."""

    def run(attacked, context):
        scores = score(attacked.target)
        if not attacked.shadows:
            return Scored(scores)
        on_shadows = np.concatenate([score(shadow) for shadow in attacked.shadows])
        member, classes = attacked.stacked("member"), attacked.target.logits.shape[1]
        if per_class:
            cuts = fit_class_thresholds(on_shadows, member, attacked.stacked("labels"), classes)[attacked.target.labels]
        else:
            cuts = fit_threshold(on_shadows, member)
        return Scored(scores, scores >= cuts, on_shadows)

    return Attack(name, run, knowledge=NONE, **entry)


ATTACKS = (
    _attack("metric_based_1", lambda model: entropy_score(model.posteriors), True, short="metric1", label=False),
    _attack("metric_based_2", lambda model: modified_entropy_score(model.posteriors, model.labels), True,
            short="metric2"),
    _attack("loss_threshold", lambda model: loss_score(model.losses), False, short="loss"),
    _attack("correctness", lambda model: correctness_score(model.logits, model.labels), False, short="correct"))
