"""The attacks among equals, on any number of versions: the learner's and LiRA's, and which of them answers allow."""
from attacks import learned, lira_game
from attacks.attack import REFERENCE, Attack
from attacks.games import asked, has_references, has_trained, signals_of

KNOWLEDGE = {**learned.KNOWLEDGE, **dict.fromkeys(lira_game.JOINT, REFERENCE)}  # of those that see several versions
NAMES = {*KNOWLEDGE, *(attack.name for attack in lira_game.ATTACKS)}
ONLINE = {name for name in NAMES if lira_game.ONLINE in name}
# Those that need two references or more: no attacks of the paper, nor part of its claims as the appendix states them.
SEVERAL = NAMES - {learned.CONFIDENCE, learned.CALIBRATED}
NO_REFERENCE = (f"{learned.CALIBRATED} and LiRA are left out: they need every model's answers on all scored rows and, "
                "with shared pools, two shadows")
ONE_REFERENCE = ("LiRA is left out: it needs two shadows, with shared pools three (train.py --shadow_num 3; for an "
                 "audit shadow_1 beside shadow_0)")
NONE_TRAINED = ("LiRA_online is left out: it needs shadows that trained on the target's pictures and on each other's "
                "(train.py --pools shared)")


def attack(name, versions_of, **entry):
    """The Attack of NR or SR of this name; versions_of: what it sees → its `inputs.Attacked` versions, in order."""

    def run(seen, context):
        versions = versions_of(seen)
        signals = [signals_of(version, context.seed) for version in versions]
        return run_attack(name, signals, learned.rows_of(versions[-1]), context)

    return Attack(name, run, KNOWLEDGE[name], short=name.replace("_LiRA_", " LiRA "),
                  edition=learned.EDITION.get(name, 1), **entry)


def run_attack(name, signals, rows, context):
    """The Scored of one of KNOWLEDGE. signals: the `games.Signals` of the versions or views that the setting allows;
    rows: the shadows' `learners.Rows`."""
    if name in lira_game.JOINT:
        return lira_game.joint(name, signals, rows.member)
    return learned.run_learned(name, signals, rows, context)


def possible(attacked):
    """({names of the attacks that can run on a version's answers}, [a line on each precondition that these lack]).

    Of several versions together the smallest set holds: of two, one is always within the other.
    """
    if not (asked(attacked.models, attacked.models) and has_references(attacked)):
        return {learned.CONFIDENCE}, [NO_REFERENCE]
    if not has_references(attacked, 2):
        return NAMES - SEVERAL, [ONE_REFERENCE]
    return (NAMES, []) if has_trained(attacked) else (NAMES - ONLINE, [NONE_TRAINED])
