"""The members of the target that stand out most: which they are, and how far on each model."""
import base64
import io

import numpy as np
from PIL import Image

from common.errors import CompLeakError
from common.paths import ORIGINAL
from data import sets
from evaluation.names import short
from models.stage import load_data

COUNT = 12
BY = ("RMIA", "metric_based_2")  # the first that is above chance on the original; named here, not picked by a result
MEANING = ("Exposed: hardly any non-member scores as high as this member, so an attacker who accuses it accuses hardly "
           "anyone falsely. The numbers are the share of non-members that score as high or higher, in per cent, on "
           "each model by itself.")


def shown(found, data_dir):
    """The report's section, its notes and cards: the members with the highest score on the original.

    Where no attack of BY is above chance there (AUC's 95% interval), nobody is shown. found: the run's Evidence.
    """
    known = found.metrics("NR", ORIGINAL)
    attack = next((name for name in BY if name in known and known[name]["auc_interval"][0] > 0.5), None)
    if attack is None:
        tried = " and ".join(name for name in BY if name in known)
        return {"notes": [f"Nobody is shown: on the original, no attack of {tried} is told from chance, so the highest "
                          "scores are members' by chance." if tried else "Nobody is shown: neither attack was run."]}
    data, why = pictures(found.run, data_dir)
    made = cards(found, attack, data)
    notes = [MEANING, f"The {len(made['rows'])} members with the highest {short(attack)} score on the original, chosen "
                      f"among members alone{made['ties']}."]
    return {"cards": made, "notes": notes + ([f"Pictures are not shown: {why}."] if why else [])}


def pictures(run, data_dir):
    """(Dataset, "") of a run's pictures, or (None, why they are not at hand); nothing is downloaded."""
    data_dir = data_dir or run.settings.data_dir
    if run.layout.is_own:
        return None, "pictures of models made elsewhere are not known to the run"
    if not sets.at_hand(run.layout.dataset, data_dir, run_dir=run.layout.run_dir):
        return None, f"{sets.DATASETS[run.layout.dataset].label} is not in data/datasets/; --data_dir names a copy"
    try:
        return load_data(run, data_dir, run.settings.data_label), ""
    except CompLeakError as error:
        return None, str(error)


def cards(found, attack, data):
    """{"columns": model names, "ties": words on members that tie at the edge, "rows": [{"index", "label", "picture":
    PNG as base64 or None, "shares": text a model}]}, the most exposed first. data: a Dataset or None."""
    scores = {version: found.scores["NR", str(version), attack] for version in found.nr
              if attack in found.metrics("NR", version)}
    index, member, first = found.index, found.member, scores[ORIGINAL]
    chosen = [row for row in np.argsort(-first, kind="stable") if member[row]][:COUNT]
    queries = found.run.queries(ORIGINAL, found.run.layout.attacked)
    labels = [found.run.settings.classes[label] for label in queries.labels[queries.rows(index[chosen])]]
    rows = [{"index": int(index[row]), "label": label, "picture": _png(data, index[row]),
             "shares": [_share(values, ~member, row) for values in scores.values()]}
            for row, label in zip(chosen, labels, strict=True)]
    return {"columns": [short(version) for version in scores], "rows": rows,
            "ties": _ties(first[member], first[chosen])}


def _ties(members, chosen):
    """Words on how many of the shown members, and how many that are not shown, have the lowest score shown."""
    inside, everywhere = int((chosen == chosen[-1]).sum()), int((members == chosen[-1]).sum())
    if everywhere == 1:
        return ""
    if everywhere == inside:
        return f"; the last {inside} have one score"
    return f"; {everywhere} members tie at the lowest score shown, of which the first {inside} by index are here"


def _share(scores, non_member, row):
    share = 100 * np.mean(scores[non_member] >= scores[row])
    return f"{share:.2f}" if share < 1 else f"{share:.1f}"


def _png(data, index):
    if data is None:
        return None
    file = io.BytesIO()
    Image.fromarray(data.images[index]).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
