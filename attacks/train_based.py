"""A classifier fitted on the shadows as an attack: on posteriors, without the label (Shokri et al.) or with it (Nasr et
al.), and the control of what SR's features alone give.

SR sorts the classes by one model's logits before it lays both models' posteriors side by side. What SR1 and SR2 of one
model given twice gain over the train-based attacks is the sorting's; only what SR gains beyond them can be the second
model's.
"""
import numpy as np

from attacks.attack import FITTED, Attack, Scored
from attacks.classifiers import FITS, cross_fit, equal_rows
from attacks.features import sr_features, train_based_features
from common.errors import CompLeakError
from common.seeds import derive_seed


def classify(fitted_on, scored, attacked, kind, seed, aggregated=False):
    """The Scored of a classifier; fitted_on [Σm, d]: the shadows' features, scored [m, d]: the target's.

    kind: "LR" or "RF". aggregated: with a forest's scores of its own rows too, for the released protocol's MR. Rows
    of one shadow with equal logits and labels are taken for one picture's: posteriors of a saturated model are equal
    for many pictures, which would leave too few to fold.
    """
    member, fit = attacked.stacked("member"), FITS[kind](seed)
    classifier, groups = fit(fitted_on, member), attacked.groups
    scores = classifier.score(scored)
    if kind == "RF":
        on_shadow = classifier.score_unseen(np.zeros(len(member)) if groups is None else groups)
    else:
        on_shadow = _cross_fitted(fit, fitted_on, attacked, seed)
    return Scored(scores, scores > 0.5, on_shadow, classifier.score(fitted_on) if aggregated else None)


def _cross_fitted(fit, fitted_on, attacked, seed):
    """The shadows' rows [Σm] scored by fits that did not see them, equal rows in one fold; None if too few differ."""
    twins = None
    if attacked.groups is None:
        twins = equal_rows(attacked.stacked("logits"), attacked.stacked("labels"))
    try:
        return cross_fit(fit, fitted_on, attacked.stacked("member"), derive_seed(seed, "folds"),
                         groups=attacked.groups, twins=twins)
    except CompLeakError:  # a model whose answers hardly differ leaves no five folds
        return None


def attack(name, kind, labelled, features, versions_of=lambda attacked: [attacked], **entry):
    """The Attack of a classifier, kind "LR" or "RF"; labelled: whether it sees the label.

    features: (the answers of one world's model under each version, labelled) → [m, d]; versions_of: what the attack
    sees → its `inputs.Attacked` versions, in order.
    """

    def run(seen, context):
        versions = versions_of(seen)
        worlds = zip(*(version.models for version in versions), strict=True)
        target, *shadows = (features(*models, labelled) for models in worlds)
        return classify(np.concatenate(shadows), target, versions[-1], kind, context.seed,
                        aggregated=labelled and kind == "RF")

    return Attack(name, run, FITTED, label=labelled, **entry)


def _posteriors(model, labelled):
    return train_based_features(model.posteriors, model.labels if labelled else None)


def side_by_side(original, compressed, labelled):
    """SR's features of two models' answers."""
    return sr_features(original.logits, compressed.logits, original.labels, labelled)


def twice(number, kind):
    """The control's name for SR1 or SR2 (number), "LR" or "RF" (kind)."""
    return f"SR{number}_twice ({kind})"


NUMBERS = {1: False, 2: True}  # whether attack 1, 2 of a pair sees the label
ATTACKS = tuple(attack(f"train_based_{number} ({kind})", kind, labelled, _posteriors, short=f"train{number} {kind}")
                for number, labelled in NUMBERS.items() for kind in FITS)
TWICE = tuple(attack(twice(number, kind), kind, labelled, lambda model, labelled: side_by_side(model, model, labelled),
                     short=f"2xSR{number} {kind}") for number, labelled in NUMBERS.items() for kind in FITS)
AGGREGATED = "train_based_2 (RF)"  # what MR without the original is made from
AGGREGATED_TWICE = twice(2, "RF")  # what MR of one model repeated is made from
