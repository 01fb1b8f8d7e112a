"""How a run is measured: soundly, or with choices of the code that the paper's authors released (design: Soundness)."""
from common.errors import UsageError
from common.paths import Version

SOUND, RELEASED = "sound", "released"
TRAINING = {
    "best_epoch": "each model is its epoch of best accuracy on the attack's own non-members; training stops after 11 "
                  "epochs without a better one",
    "l2_term": "the training loss has an extra L2 term, 5e-5 times half the squared norm of all parameters",
}
QUERIES = {
    "augmented_members": "members are shown through the training's random crop and flip, non-members as they are: one "
                         "draw for the original, one for all compressed versions, fresh ones for MR's losses; RMIA's "
                         "references see the crop that the attacked model saw",
}
ATTACKS = {
    "best_attack_epoch": "SAMIA and MR keep the epoch of best accuracy on the target's membership",
    "int8_shadow": "in MR the int8 shadow's losses stand for those of every version; where members are augmented, it "
                   "is asked afresh for each",
    "in_sample_forests": "MR is trained on scores that the shadow's forests give to their own training rows",
    "plain_inputs": "MR sees both columns of each forest, and losses that are not standardised",
    "samia_l2_term": "SAMIA's training loss has the extra L2 term too",
    "rmia_population": "RMIA's population holds shadow members too, its references are not corrected there, and "
                       "scores above 0.7 are called members",
    "interpolated_tpr": "TPR at a low FPR is interpolated linearly along the ROC curve; RMIA's is the share of members "
                        "strictly above that percentile of the non-members",
}
CHOICES = {**TRAINING, **QUERIES, **ATTACKS}
REVISION = 2  # of how choices work: results under one made by an earlier revision are made again
INT8 = Version("quantization", "int8")  # whose shadow stands for every version's


def parse(text):
    """The choices, a frozenset, that a protocol's name switches on: sound (none), released (all), or some joined by +.

    Raises UsageError for a name that is none of these.
    """
    if text == SOUND:
        return frozenset()
    if text == RELEASED:
        return frozenset(CHOICES)
    chosen = frozenset(text.split("+"))
    unknown = sorted(chosen - CHOICES.keys())
    if unknown:
        raise UsageError(f"--protocol {text}: there is no choice {unknown[0]!r}; choose {SOUND}, {RELEASED}, or from "
                         f"{', '.join(CHOICES)}, joined by +")
    return chosen


def name(text):
    """A protocol's name with its choices in one order, so that one protocol has one name; UsageError as `parse`."""
    chosen = parse(text)
    if not chosen or chosen == CHOICES.keys():
        return RELEASED if chosen else SOUND
    return "+".join(choice for choice in CHOICES if choice in chosen)
