"""Comparisons among equals: what is compared is chosen on the attacker's own shadows and then taken to the target.

The attacker knows who is a member of his shadows, so he can try every attack there and keep the one of highest AUC; the
scores come from fits that did not see the row. No choice reads the target's membership. Attacks without such scores
(SAMIA, for its cost; RMIA's population score, which ranks as RMIA but more coarsely) are no candidates, nor are
controls: versions that were trained on without compressing them, and MR of one model repeated.
"""
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from attacks import equals, mr, nr, sr
from attacks.attack import FITTED, NONE, REFERENCE
from common.errors import CompLeakError
from common.intervals import CONFIDENCE, delong_variance, normal_interval, percentile_interval
from common.paths import ORIGINAL, Version
from evaluation import evidence
from evaluation.comparisons import BEST, SAME_KNOWLEDGE, Pair, combine, difference, measure
from models import compression

ANY = "any"
BEYOND = (sr.AGGREGATED, *equals.KNOWLEDGE)  # of SR, what is compared with itself on a control
SETTINGS = {"NR": "on one model", "SR": "with one compressed", "MR": "with several"}
STEPS = {"SR - NR": ("SR", "NR"), "MR - SR": ("MR", "SR")}


class Chosen(NamedTuple):
    """What is compared: pairs of chosen keys, runs whose scores hold them, {chosen key: key of the attack}, one
    dictionary a run, and (key, key of the same attack on controls) of all that has its like there."""

    pairs: list
    runs: list
    keys: list
    beyond: list

    @property
    def compared(self):
        """Every key whose scores are needed."""
        return list(dict.fromkeys([*self.keys[0], *(key for both in self.beyond for key in both)]))


def choose(runs, keys):
    """The Chosen of some runs' Evidence; keys: those that every run has."""
    known = [key for key in keys if all(key in one.areas for one in runs) and not is_control(key, runs[0].groups)]
    wanted, pairs = {}, []
    for pair, candidates in (*_of_equal_knowledge(known, runs[0].groups), *_of_all(known)):
        if all(candidates):
            pairs.append(pair)
            wanted |= zip((pair.attack, pair.against), candidates, strict=True)
    if not any(key[0] in ("SR", "MR") for key in wanted) and (alone := [key for key in known if key[0] == "NR"]):
        wanted[best("NR")] = alone
    found = [{key: max(candidates, key=one.areas.get) for key, candidates in wanted.items()} for one in runs]
    extended = [replace(one, scores={**one.scores, **{key: one.scores[of] for key, of in chosen.items()}})
                for one, chosen in zip(runs, found, strict=True)]
    return Chosen(pairs, extended, found, beyond(keys, runs[0].groups))


def best(setting):
    """The key of a setting's best attack."""
    return setting, ANY, "best attack"


def label(key):
    """An attack in words."""
    setting, model, attack = key
    if model == ANY:
        return f"{attack} {SETTINGS[setting]}"
    if setting == "MR":
        return f"MR of {model}, {attack}"
    return f"{attack} on {'original + ' if setting == 'SR' else ''}{model}"


def is_control(key, groups):
    """Whether an attack says what something else than compression does; groups: {MR's group: [model]}."""
    setting, model, attack = key
    models = groups[model] if setting == "MR" else [model]
    tuned = all(compression.is_control(Version.named(one)) for one in models)
    return tuned or attack == mr.REPEATED or attack in mr.ON_VIEWS


def knowledge(key):
    """What an attack knows beside the target's answers."""
    setting, model, attack = key
    entries = {"NR": nr.ATTACKS, "SR": sr.ATTACKS}
    return (mr.attack_of(f"{model}, {attack}") if setting == "MR" else entries[setting][attack]).knowledge


def _of_equal_knowledge(known, groups):
    """(Pair, (candidates of its attack, of its against)) for each version, group and level of knowledge."""
    for level in (NONE, FITTED, REFERENCE):
        mine, name = [key for key in known if knowledge(key) == level], f"best {level} attack"
        for version in dict.fromkeys(model for setting, model, _ in mine if setting == "SR"):
            pair = Pair("C2", version, SAME_KNOWLEDGE, ("SR", version, name), ("NR", f"original or {version}", name))
            yield pair, (_keys(mine, "SR", [version]), _keys(mine, "NR", [str(ORIGINAL), version]))
        for group in dict.fromkeys(model for setting, model, _ in mine if setting == "MR"):
            for knows in mr.AGGREGATED:
                first = [str(ORIGINAL)] if knows == mr.WITH else []
                against = "NR", f"{'original or ' if first else ''}one of {group}", name
                pair = Pair("C3", f"{group}, {knows}", SAME_KNOWLEDGE, ("MR", group, f"{name} {knows}"), against)
                yield pair, ([key for key in _keys(mine, "MR", [group]) if key[2].endswith(knows)],
                             _keys(mine, "NR", [*first, *groups[group]]))


def _of_all(known):
    """The same for the attacker's best: every attack on every model, pair and group."""
    for claim, (attack, against) in zip(("C2", "C3"), STEPS.values(), strict=True):
        yield Pair(claim, ANY, BEST, best(attack), best(against)), (_keys(known, attack), _keys(known, against))


def _keys(keys, setting, models=None):
    return [key for key in keys if key[0] == setting and (models is None or key[1] in models)]


def beyond(keys, groups):
    """[(key, key of the same attack where nothing is compressed)]: on versions that were fine-tuned alone (MR with as
    many, SR with the first of them), and, for what MR learns, on as many views of the original."""
    tuned = {group for group in groups if is_control(("MR", group, ""), groups)}
    controls = [model for setting, model, _ in keys if setting == "SR" and is_control((setting, model, ""), groups)]
    found = []
    for setting, model, attack in keys:
        if setting == "SR" and model not in controls and attack in BEYOND:
            found += [((setting, model, attack), (setting, one, attack)) for one in dict.fromkeys(controls[:1])]
        if setting == "MR" and model not in tuned and attack not in (mr.REPEATED, *mr.ON_VIEWS):
            found += [((setting, model, attack), (setting, one, attack)) for one in groups
                      if one in tuned and len(groups[one]) == len(groups[model])]
            found += [((setting, model, attack), (setting, model, row)) for row, name in mr.ON_VIEWS.items()
                      if attack == f"{name} {mr.WITH}"]
    return [both for both in found if both[1] in keys]


# What claims.json says of it.

def summary(chosen, measured):
    """The values of "best": what was chosen, each setting's rates, the steps between settings, and what every attack on
    compressed versions finds beyond the same where nothing is compressed; {} without shadows.

    measured: {metric: one dictionary of `comparisons.measure` a run}. Rates are fractions; interval: over these
    models' points; over_seeds: Student's t over the runs, None for a single one.
    """
    settings = [setting for setting in SETTINGS if best(setting) in chosen.keys[0]]
    if not settings:
        return {}
    found = {"chosen": [{setting: {"attack": label(keys[best(setting)]), "shadow_auc": one.areas[keys[best(setting)]]}
                         for setting in settings} for one, keys in zip(chosen.runs, chosen.keys, strict=True)]}
    for setting in settings:
        found[setting] = {metric: level(metric, of_runs, best(setting)) for metric, of_runs in measured.items()}
    found["differences"] = {step: {metric: gain(metric, of_runs, best(one), best(other))
                                   for metric, of_runs in measured.items()}
                            for step, (one, other) in STEPS.items() if {one, other} <= set(settings)}
    found["beyond controls"] = [
        {"attack": label(one), "against": label(other),
         **{metric: gain(metric, of_runs, one, other) for metric, of_runs in measured.items()}}
        for one, other in chosen.beyond]
    return {**found, "text": sentence(found)}


def level(metric, measured, key):
    """{"mean", "interval", "per_seed", "over_seeds"} of one attack's AUC or TPR over runs, fractions."""
    if metric == "auc":
        per_seed = [float(run[key][0].mean()) for run in measured]
        interval = normal_interval(*combine(per_seed, [delong_variance(*run[key]) for run in measured]))
    else:
        per_seed = [run[key][0] for run in measured]
        interval = percentile_interval(np.mean([run[key][1] for run in measured], axis=0))
    return {"mean": float(np.mean(per_seed)), "interval": interval, "per_seed": per_seed,
            "over_seeds": t_interval(per_seed)}


def gain(metric, measured, attack, against):
    """{"mean", "interval", "per_seed", "over_seeds"} of what an attack finds beyond another over runs, fractions."""
    found = difference(metric, measured, attack, against)
    return {"mean": found["difference"], "interval": found["interval"], "per_seed": found["per_seed"],
            "over_seeds": t_interval(found["per_seed"])}


def answer(runs):
    """The attacker's best of some Runs in one line, from their saved scores; where there is none, what is missing."""
    try:
        read = [evidence.read(run) for run in runs]
    except CompLeakError as error:
        return str(error)
    evidence.check_together(read)
    chosen = choose(read, evidence.common_keys(read))
    measured = [measure("auc", one.scores, one.member, chosen.compared, 0) for one in chosen.runs]
    found = summary(chosen, {"auc": measured})
    return found["text"] if found else "No attacker's best: no attack has scores on a shadow"


def t_interval(values):
    """Student's 95% interval [low, high] of the mean of values [n], one a seed; None for a single one."""
    if len(values) < 2:
        return None
    half = t.isf((1 - CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return [float(np.mean(values) - half), float(np.mean(values) + half)]


def sentence(found):
    """The answer in one sentence: each setting's best by AUC in per cent, and what it adds in points."""
    parts = []
    for setting, words in SETTINGS.items():
        if setting in found:
            part = f"best {words} {per_cent(found[setting]['auc'])}"
            step = next((one for one in found["differences"] if one.startswith(f"{setting} ")), None)
            parts.append(part + (f" ({step} {per_cent(found['differences'][step]['auc'], '+')})" if step else ""))
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}; AUC in per cent, chosen on the shadow"


def per_cent(rate, sign=""):
    """'84.10 [83.55, 84.65]' of a rate, with its t interval over runs where there are several."""
    low, high = (round(100 * end, 2) + 0.0 for end in rate["interval"])
    text = f"{round(100 * rate['mean'], 2) + 0.0:{sign}.2f} [{low:.2f}, {high:.2f}]"
    if rate["over_seeds"]:
        text += " over runs [{:.2f}, {:.2f}]".format(*(round(100 * end, 2) + 0.0 for end in rate["over_seeds"]))
    return text
