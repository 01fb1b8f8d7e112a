"""How a run is measured: soundly, or with choices of the code that the paper's authors released (design: Soundness)."""
from common.errors import UsageError

SOUND, RELEASED = "sound", "released"
TRAINING = {
    "best_epoch": "each model is its epoch of best accuracy on the attack's own non-members; training stops after 10 "
                  "epochs without a better one",
    "l2_term": "the training loss has an extra L2 term, 5e-5 times half the squared norm of all parameters",
}
QUERIES = {
    "augmented_members": "members are queried through the training's random crop and flip, drawn afresh for every "
                         "model, non-members as they are",
}
ATTACKS = {
    "best_attack_epoch": "SAMIA and MR keep the epoch of best accuracy on the target's membership",
    "int8_shadow": "in MR the int8 shadow's losses stand for those of every version",
    "in_sample_forests": "MR is trained on scores that the shadow's forests give to their own training rows",
    "rmia_population": "RMIA's population holds shadow members too, its references are not corrected there, and "
                       "scores of 0.7 and more are called members",
    "interpolated_tpr": "TPR at a low FPR is interpolated linearly along the ROC curve",
}
CHOICES = {**TRAINING, **QUERIES, **ATTACKS}
# Which choices move the results of which setting, models' own apart: those are known by their weights.
MATTERS = {"all": {"augmented_members", "interpolated_tpr"}, "SR": set(),
           "NR": {"best_attack_epoch", "rmia_population"},
           "MR": {"best_attack_epoch", "int8_shadow", "in_sample_forests"}}


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


def record(choices, setting):
    """What a result of NR, SR or MR notes of its protocol: the choices that move it, {} where there are none."""
    found = [choice for choice in CHOICES if choice in choices & (MATTERS["all"] | MATTERS[setting])]
    return {"protocol": found} if found else {}


def name(text):
    """A protocol's name with its choices in one order, so that one protocol has one name; UsageError as `parse`."""
    chosen = parse(text)
    if not chosen or chosen == CHOICES.keys():
        return RELEASED if chosen else SOUND
    return "+".join(choice for choice in CHOICES if choice in chosen)
