"""Single reference: the original and one compressed model together (features SR1 and SR2, two classifiers)."""
import numpy as np

from attacks.classifiers import cross_fit
from attacks.features import sr_features, train_based_features
from attacks.inputs import stacked
from attacks.nr import fits
from data.splits import derive_seed


def attack(original, compressed, seed):
    """{attack: (scores [m], decisions [m])} on the target.

    original, compressed: (target Answers, [shadow Answers]) each, rows paired.
    """
    member, results = stacked(original[1], "member"), {}
    for name, labelled in (("SR1", False), ("SR2", True)):
        fitted_on = np.concatenate([_pair(o, c, labelled) for o, c in zip(original[1], compressed[1], strict=True)])
        scored = _pair(original[0], compressed[0], labelled)
        for kind, fit in fits(seed).items():
            scores = fit(fitted_on, member).score(scored)
            results[f"{name} ({kind})"] = (scores, scores > 0.5)
    return results


def for_multi(original, compressed, sr2_scores, seed):
    """What MR needs of one variant: member probabilities of the SR2 forest and of train_based_2's, by name.

    sr2_scores [m]: the SR2 forest's scores of the target, from `attack`. Target-side scores come from forests fitted
    on all shadow rows; shadow-side scores are cross-fitted, because a forest's scores of its own training rows are
    not comparable with those of rows it never saw.
    """
    target, shadows = compressed
    member = stacked(shadows, "member")
    groups = np.repeat(np.arange(len(shadows)), [len(shadow.index) for shadow in shadows])
    by_shadow = groups if len(shadows) > 1 else None
    pairs = np.concatenate([_pair(o, c, True) for o, c in zip(original[1], shadows, strict=True)])
    alone = train_based_features(stacked(shadows, "posteriors"), stacked(shadows, "labels"))
    fit, folds = fits(seed)["RF"], derive_seed(seed, "folds")
    return {"target_SR2": sr2_scores, "shadow_SR2": cross_fit(fit, pairs, member, folds, groups=by_shadow),
            "target_train_based_2": fit(alone, member).score(train_based_features(target.posteriors, target.labels)),
            "shadow_train_based_2": cross_fit(fit, alone, member, folds, groups=by_shadow)}


def _pair(original, compressed, labelled):
    return sr_features(original.logits, compressed.logits, original.labels, labelled)
