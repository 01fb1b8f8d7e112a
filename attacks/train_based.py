"""The train-based attacks: a classifier on posteriors, without the label (Shokri et al.) or with it (Nasr et al.)."""
from attacks.attack import Attack, Scored
from attacks.classifiers import FITS, cross_fit
from attacks.features import train_based_features
from common.seeds import derive_seed


def classify(fitted_on, scored, attacked, kind, seed, aggregated=False):
    """The Scored of a classifier; fitted_on [Σm, d]: the shadows' features, scored [m, d]: the target's.

    kind: "LR" or "RF". aggregated: with scores of the shadows' rows too, which MR takes for its inputs.
    """
    member, fit = attacked.stacked("member"), FITS[kind](seed)
    classifier = fit(fitted_on, member)
    scores = classifier.score(scored)
    if not aggregated:
        return Scored(scores, scores > 0.5)
    on_shadow = cross_fit(fit, fitted_on, member, derive_seed(seed, "folds"), groups=attacked.groups)
    return Scored(scores, scores > 0.5, on_shadow, classifier.score(fitted_on))


def _attack(number, kind):
    labelled = number == 2

    def run(attacked, context):
        fitted_on = train_based_features(attacked.stacked("posteriors"),
                                         attacked.stacked("labels") if labelled else None)
        scored = train_based_features(attacked.target.posteriors, attacked.target.labels if labelled else None)
        return classify(fitted_on, scored, attacked, kind, context.seed, aggregated=labelled and kind == "RF")

    return Attack(f"train_based_{number} ({kind})", run, short=f"train{number} {kind}", label=labelled)


ATTACKS = tuple(_attack(number, kind) for number in (1, 2) for kind in FITS)
AGGREGATED = "train_based_2 (RF)"  # what MR without the original is made from
