"""Control: what SR's features alone give. SR1 and SR2 of one model given twice, as attacks on that model by itself.

SR sorts the classes by one model's logits before it lays both models' posteriors side by side. What these attacks gain
over the train-based ones is the sorting's; only what SR gains beyond them can be the second model's.
"""
import numpy as np

from attacks import train_based
from attacks.attack import FITTED, Attack
from attacks.classifiers import FITS
from attacks.features import sr_features


def name_of(number, kind):
    """The control's name for SR1 or SR2 (number), "LR" or "RF" (kind)."""
    return f"SR{number}_twice ({kind})"


def _attack(number, kind):
    labelled = number == 2

    def features(model):
        return sr_features(model.logits, model.logits, model.labels, labelled)

    def run(attacked, context):
        fitted_on = np.concatenate([features(shadow) for shadow in attacked.shadows])
        return train_based.classify(fitted_on, features(attacked.target), attacked, kind, context.seed,
                                    aggregated=name_of(number, kind) == AGGREGATED)

    return Attack(name_of(number, kind), run, FITTED, short=f"2xSR{number} {kind}", label=labelled)


AGGREGATED = name_of(2, "RF")  # what MR of one model repeated is made from
ATTACKS = tuple(_attack(number, kind) for number in (1, 2) for kind in FITS)
