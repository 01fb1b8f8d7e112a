"""What one attack finds beyond another on the same points of one run: compression's share, and a second model's."""
import pandas as pd

from attacks import sr
from attacks.saved import attack_scores, read_result, shadow_areas
from common.paths import ORIGINAL, Version
from evaluation import best
from evaluation.comparisons import measure
from evaluation.names import short
from models import hints

HEADING = "What compression adds: gain over the same attack where nothing is compressed, in points of AUC"


def points(run, attack, against):
    """"+1.20 [0.80, 1.60]": points of AUC that an attack finds beyond another, with DeLong's interval; keys of each."""
    scores = {}
    for setting, model, name in (attack, against):
        version, saved = (ORIGINAL, f"{model}, {name}") if setting == "MR" else (Version.named(model), name)
        _, member, found = attack_scores(run, version, setting, [saved])
        scores[setting, model, name] = found[saved]
    measured = {"auc": [measure("auc", scores, member, list(scores), 0)]}
    return best.per_cent(best.rates(measured, attack, against)["auc"], "+")


def beyond_controls(run, sr_results, mr_result=None):
    """{HEADING: frame of text}, a row for each attack that has its like where nothing is compressed; {} without any.

    sr_results: {Version: values of SR.json}; mr_result: values of MR.json.
    """
    keys = [("SR", str(version), attack) for version, result in sr_results.items() for attack in result["attacks"]]
    keys += [("MR", *name.rsplit(", ", 1)) for name in (mr_result or {"attacks": ()})["attacks"]]
    rows = [{"attack": short(best.label(attack)), "against": short(best.label(against)),
             "gain": points(run, attack, against)}
            for attack, against in best.beyond(keys, (mr_result or {"groups": {}})["groups"])]
    return {HEADING: pd.DataFrame(rows)} if rows else {}


def second_model(run, version):
    """One line: what the original and a compressed version give together beyond the same attack on one of them.

    The attack, and the model that it is compared on, are those of highest AUC on the shadow. SR1 and SR2 on one model
    are the features of that model given twice.
    """
    together = {name: area for name, area in _areas(run, version, "SR").items() if sr.ATTACKS[name].family}
    alone = {model: _areas(run, model, "NR") for model in (ORIGINAL, version)}
    possible = [name for name in together if all(sr.ATTACKS[name].family in areas for areas in alone.values())]
    if not possible:
        lacking = [model for model, areas in alone.items()
                   if not areas.keys() & {sr.ATTACKS[name].family for name in together}]
        return f"what the second model adds is known after {hints.attacks(run.layout, 'NR', lacking or list(alone))}"
    attack = max(possible, key=together.get)
    family = sr.ATTACKS[attack].family
    model = max(alone, key=lambda one: alone[one][family])
    found = points(run, ("SR", str(version), attack), ("NR", str(model), family))
    return (f"the second model adds {found} points of AUC over the same attack on one: {attack} on original + "
            f"{version}, {family} on {model}")


def _areas(run, version, setting):
    result = read_result(run, setting, version)
    return {} if result is None else shadow_areas(run, version, setting, result["attacks"])
