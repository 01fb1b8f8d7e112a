"""Single reference: the original and one compressed model together (features SR1 and SR2, two classifiers)."""
import numpy as np

from attacks.classifiers import stand_in
from attacks.features import sr_features, train_based_features
from attacks.inputs import stacked
from attacks.nr import fits


def attack(original, compressed, seed, alone=None):
    """({attack: (scores [m], decisions [m])} on the target, what MR needs of this version: {name: scores}).

    original, compressed: (target Answers, [shadow Answers]) each, rows paired. For MR: `stand_in` of the SR2 forest and
    of the compressed version's own train_based_2 forest; alone: that of the latter where NR has fitted the forest
    already (same seed, same rows: the same forest), or None to fit it here.
    """
    member, results = stacked(original[1], "member"), {}
    groups = np.repeat(np.arange(len(compressed[1])), [len(shadow.index) for shadow in compressed[1]])
    for name, labelled in (("SR1", False), ("SR2", True)):
        fitted_on = np.concatenate([_pair(o, c, labelled) for o, c in zip(original[1], compressed[1], strict=True)])
        scored = _pair(original[0], compressed[0], labelled)
        for kind, fit in fits(seed).items():
            classifier = fit(fitted_on, member)
            scores = classifier.score(scored)
            results[f"{name} ({kind})"] = (scores, scores > 0.5)
            if (name, kind) == ("SR2", "RF"):
                both = stand_in("SR2", classifier, scores, groups)
    return results, both | (_alone(*compressed, groups, seed) if alone is None else alone)


def _alone(target, shadows, groups, seed):
    fitted_on = train_based_features(stacked(shadows, "posteriors"), stacked(shadows, "labels"))
    forest = fits(seed)["RF"](fitted_on, stacked(shadows, "member"))
    scores = forest.score(train_based_features(target.posteriors, target.labels))
    return stand_in("train_based_2", forest, scores, groups)


def _pair(original, compressed, labelled):
    return sr_features(original.logits, compressed.logits, original.labels, labelled)
