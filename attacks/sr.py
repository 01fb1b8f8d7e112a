"""Single reference: the original and one compressed model together (features SR1 and SR2, two classifiers)."""
import numpy as np

from attacks.classifiers import cross_fit
from attacks.features import sr_features, train_based_features
from attacks.inputs import stacked
from attacks.nr import fits
from common.seeds import derive_seed


def attack(original, compressed, seed):
    """({attack: (scores [m], decisions [m])} on the target, what MR needs of this version: {name: scores}).

    original, compressed: (target Answers, [shadow Answers]) each, rows paired. For MR: member probabilities of the SR2
    forest and of train_based_2's, `target_*` [m] from forests fitted on all shadow rows, `shadow_*` [Σm] cross-fitted,
    because a forest's scores of its own training rows are not comparable with those of rows it never saw.
    `shadow_*_in_sample` [Σm] are just those scores, for the released protocol.
    """
    member, results, forests = stacked(original[1], "member"), {}, {}
    for name, labelled in (("SR1", False), ("SR2", True)):
        fitted_on = np.concatenate([_pair(o, c, labelled) for o, c in zip(original[1], compressed[1], strict=True)])
        scored = _pair(original[0], compressed[0], labelled)
        for kind, fit in fits(seed).items():
            classifier = fit(fitted_on, member)
            scores = classifier.score(scored)
            results[f"{name} ({kind})"] = (scores, scores > 0.5)
            if (name, kind) == ("SR2", "RF"):
                forests["SR2"] = classifier, fitted_on, scores
    target, shadows = compressed
    alone = train_based_features(stacked(shadows, "posteriors"), stacked(shadows, "labels"))
    forest = fits(seed)["RF"](alone, member)
    scored = train_based_features(target.posteriors, target.labels)
    forests["train_based_2"] = forest, alone, forest.score(scored)
    return results, _for_multi(forests, shadows, member, seed)


def _for_multi(forests, shadows, member, seed):
    """Three arrays of scores for each forest, given as (forest, its training rows, the target's scores)."""
    groups = np.repeat(np.arange(len(shadows)), [len(shadow.index) for shadow in shadows])
    fit, folds, found = fits(seed)["RF"], derive_seed(seed, "folds"), {}
    for name, (forest, fitted_on, scores) in forests.items():
        found[f"target_{name}"] = scores
        found[f"shadow_{name}"] = cross_fit(fit, fitted_on, member, folds, groups=groups if len(shadows) > 1 else None)
        found[f"shadow_{name}_in_sample"] = forest.score(fitted_on)
    return found


def _pair(original, compressed, labelled):
    return sr_features(original.logits, compressed.logits, original.labels, labelled)
