"""What one attack finds beyond another on the same points of one run: compression's share, and a second model's."""
import pandas as pd

from attacks import sr
from attacks.saved import read_result
from common.paths import ORIGINAL
from evaluation import best
from evaluation.comparisons import measure
from evaluation.evidence import gather
from evaluation.names import label, short
from models import hints

HEADING = "What compression adds: gain over the same attack where nothing is compressed, in points of AUC"


def points(found, attack, against):
    """"+1.20 [0.80, 1.60]": points of AUC that an attack finds beyond another, with DeLong's interval; keys of each."""
    measured = {"auc": [measure("auc", found.scores, found.member, [attack, against], 0)]}
    return best.per_cent(best.rates(measured, attack, against)["auc"], "+")


def beyond_controls(found, setting):
    """{HEADING: frame of text}, a row for each attack of SR or MR that has its like where nothing is compressed; {}
    without any. found: a run's Evidence."""
    keys = [key for key in found.scores if key[0] == setting]
    rows = [{"attack": short(label(attack)), "against": short(label(against)), "gain": points(found, attack, against)}
            for attack, against in best.beyond(keys, found.groups)]
    return {HEADING: pd.DataFrame(rows)} if rows else {}


def second_model(run, version):
    """One line: what the original and a compressed version give together beyond the same attack on one of them.

    The attack, and the model that it is compared on, are those of highest AUC on the shadow. SR1 and SR2 on one model
    are the features of that model given twice.
    """
    pair = (ORIGINAL, version)
    nr = {model: values for model in pair if (values := read_result(run, "NR", model))}
    found = gather(run, nr, {version: read_result(run, "SR", version)})
    alone = {key: area for key, area in found.areas.items() if key[0] == "NR"}
    together = {key: area for key, area in found.areas.items() if key[0] == "SR" and sr.ATTACKS[key[2]].family}

    def like(key, model):
        return "NR", str(model), sr.ATTACKS[key[2]].family

    possible = [key for key in together if all(like(key, model) in alone for model in pair)]
    if not possible:
        lacking = [model for model in pair if not any(like(key, model) in alone for key in together)] or pair
        return f"what the second model adds is known after {hints.attacks(run.layout, 'NR', lacking)}"
    attack = max(possible, key=together.get)
    against = max((like(attack, model) for model in pair), key=alone.get)
    return (f"the second model adds {points(found, attack, against)} points of AUC over the same attack on one: "
            f"{_said(attack)}, {_said(against)}")


def _said(key):
    setting, model, attack = key
    return label((setting, short(model), attack))
