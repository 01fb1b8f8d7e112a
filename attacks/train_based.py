"""The train-based attacks: a classifier on posteriors, without the label (Shokri et al.) or with it (Nasr et al.)."""
import numpy as np

from attacks.attack import FITTED, Attack, Scored
from attacks.classifiers import FITS, cross_fit, equal_rows
from attacks.features import train_based_features
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


def _attack(number, kind):
    labelled = number == 2

    def run(attacked, context):
        fitted_on = train_based_features(attacked.stacked("posteriors"),
                                         attacked.stacked("labels") if labelled else None)
        scored = train_based_features(attacked.target.posteriors, attacked.target.labels if labelled else None)
        return classify(fitted_on, scored, attacked, kind, context.seed, aggregated=labelled and kind == "RF")

    return Attack(f"train_based_{number} ({kind})", run, FITTED, short=f"train{number} {kind}", label=labelled)


ATTACKS = tuple(_attack(number, kind) for number in (1, 2) for kind in FITS)
AGGREGATED = "train_based_2 (RF)"  # what MR without the original is made from
