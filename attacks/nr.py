"""No reference: the attacks on one version by itself, each fitted on the shadows' same version."""
from attacks import equals, learned, lira_game, metric_based, rmia, samia, train_based
from attacks.inputs import identities, read_version
from attacks.results import Results
from common.files import locked

# The paper's six in its order, what is reported beside them, the attacks among equals, and the controls of SR's
# features.
ATTACKS = {attack.name: attack for attack in (
    samia.ATTACK, *metric_based.ATTACKS, *train_based.ATTACKS, *rmia.ATTACKS,
    *(equals.attack(name, lambda attacked: [attacked]) for name in learned.KNOWLEDGE), *lira_game.ATTACKS,
    *train_based.TWICE)}


def possible(attacked, names=None):
    """({name: Attack} that these answers allow, [one line on each that they do not]); names: of the wanted, or all."""
    if not attacked.shadows:
        return ({attack.name: attack for attack in metric_based.ATTACKS},
                ["every attack but those on one number, and every ACC, are left out: they need a shadow model"])
    found, lines = dict(ATTACKS), []
    if not attacked.has_sensitivities:
        del found[samia.ATTACK.name]
        lines.append("SAMIA is left out: it needs sensitivity.npz beside each queries.npz")
    missing = rmia.missing(attacked)
    lines += dict.fromkeys(missing.values())
    allowed, of_equals = equals.possible(attacked)
    lacking = {*missing, *equals.NAMES - allowed}
    if names is None or not equals.NAMES.isdisjoint(names):
        lines += of_equals
    return {name: attack for name, attack in found.items() if name not in lacking}, lines


def made_from(attack, known):
    """What an NR attack's result depends on; known: the version's `inputs.Identities`."""
    found = {"answers": known.answers}
    if attack.sensitive:
        found["sensitivities"] = known.sensitivities
    return found


def expected(run, version, context, shadow_num=None):
    """{attack: everything that its result would be made from now}."""
    known = identities(run, version, shadow_num)
    return {name: attack.inputs(made_from(attack, known), context) for name, attack in ATTACKS.items()
            if known.sensitivities or not attack.sensitive}


def attack_version(run, version, context, names=None, shadow_num=None, wait=0, attacked=None):
    """Attack one version and keep the results; finished ones stay. Gives (values of NR.json, [lines on what is not]).

    names: of the attacks to run, default all that the answers allow; wait: seconds for another process to end;
    attacked: the version where it was read already.
    """
    with locked(run.layout.result(version, "NR.json"), wait):
        attacked = attacked or read_version(run, version, shadow_num)
        known, (attacks, lines) = attacked.identities, possible(attacked, names)
        jobs = {name: (attack, made_from(attack, known), attacked) for name, attack in attacks.items()}
        values = Results(run, version, "NR").complete(jobs, attacked.target, context, names,
                                                      {"shadows": len(attacked.shadows)},
                                                      shadow_member=attacked.shadow_member)
        return values, lines
