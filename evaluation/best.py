"""Comparisons among equals: what is compared is chosen on the attacker's own shadows and then taken to the target.

The attacker knows who is a member of his shadows, so he can try every attack there and keep the one of highest AUC; the
scores come from fits that did not see the row. No choice reads the target's membership. Attacks without such scores
(SAMIA, for its cost; RMIA's population score, which ranks as RMIA but more coarsely) are no candidates, nor are
controls: versions that were trained on without compressing them, and MR of one model repeated.
"""
from typing import NamedTuple

from attacks import equals, mr, sr
from attacks.attack import FITTED, REFERENCE
from common.intervals import t_interval
from common.paths import ORIGINAL
from common.seeds import derive_seed
from evaluation.comparisons import BEST, PICTURES, SAME_KNOWLEDGE, Pair, measure, over_runs
from evaluation.evidence import check_together, common_keys
from evaluation.names import ANY, SETTINGS, attack_of, is_control, is_tuned, label
from evaluation.writing import bounds, with_interval

BEYOND = (sr.AGGREGATED, *equals.KNOWLEDGE)  # of SR, what is compared with itself on a control
LINE = "NR", str(ORIGINAL), "RMIA"  # what the best is shown against
BEST_ATTACK = "best attack"
LEVELS = FITTED, REFERENCE  # of knowledge, at which SR and MR are compared with NR
# What an attacker has: the original alone, all that is published with it; instead of that the original and fine-tuned
# versions, or the original and its answers to fixed views of each picture.
ORIGINAL_ALONE, PUBLISHED, TUNED, VIEWED = (("NR", str(ORIGINAL), BEST_ATTACK), (ANY, ANY, BEST_ATTACK),
                                            (ANY, "fine-tuned", BEST_ATTACK), (ANY, "views", BEST_ATTACK))
HAS = {"original": ORIGINAL_ALONE, "published": PUBLISHED, "fine-tuned": TUNED, "views": VIEWED}


def best(setting):
    """The key of a setting's best attack."""
    return setting, ANY, BEST_ATTACK


STEPS = {"published - original": (PUBLISHED, ORIGINAL_ALONE), "published - fine-tuned": (PUBLISHED, TUNED),
         "published - views": (PUBLISHED, VIEWED),
         "SR - NR": (best("SR"), best("NR")), "MR - SR": (best("MR"), best("SR"))}


class Chosen(NamedTuple):
    """What is compared: pairs of chosen keys; {chosen key: key of the attack}, one dictionary a run; and (key, key of
    the same attack on controls) of all that has its like there."""

    pairs: list
    keys: list
    beyond: list

    def measured(self, metric, evidence, pairs=()):
        """`comparisons.measure` of each run, of all that is compared, these pairs too; its points are resampled by its
        run's seed."""
        keys = list(dict.fromkeys([*(key for pair in pairs for key in (pair.attack, pair.against)), *self.keys[0],
                                   *(key for both in self.beyond for key in both)]))
        found = [measure(metric, {key: one.scores[chosen.get(key, key)] for key in keys}, one.member, keys,
                         derive_seed(one.run.settings.seed, "claims"))
                 for one, chosen in zip(evidence, self.keys, strict=True)]
        if len({one.run.settings.seed for one in evidence}) < len(evidence):  # targets of one run
            for of_run, one in zip(found, evidence, strict=True):
                of_run[PICTURES] = one.index[one.member], one.index[~one.member]
        return found


def choose(evidence, keys):
    """The Chosen of some runs' Evidence; keys: those that every run has."""
    groups = evidence[0].groups
    known = [key for key in keys if all(key in one.areas for one in evidence) and not is_control(key, groups)]
    wanted, pairs = {}, []
    for pair, candidates in (*_of_equal_knowledge(known, groups), *_of_all(known)):
        if all(candidates):
            pairs.append(pair)
            wanted |= zip((pair.attack, pair.against), candidates, strict=True)
    if not any(key[0] in ("SR", "MR") for key in wanted) and (alone := [key for key in known if key[0] == "NR"]):
        wanted[best("NR")] = alone
    wanted |= _of_what_he_has(known, keys, evidence, groups)
    if wanted and LINE in keys:
        wanted[LINE] = [LINE]
    found = [{key: max(candidates, key=one.areas.get) for key, candidates in wanted.items()} for one in evidence]
    return Chosen(pairs, found, beyond(keys, groups))


def _of_equal_knowledge(known, groups):
    """(Pair, (candidates of its attack, of its against)) for each version, group and level of knowledge.

    Not without a shadow: there SR has but the change of the loss, which holds nothing of the loss itself, so what it
    lacked against one model's loss would be no loss by a second model.
    """
    for level in LEVELS:
        mine, name = [key for key in known if attack_of(key).knowledge == level], f"best {level} attack"
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
    for claim, attack, against in (("C2", "SR", "NR"), ("C3", "MR", "SR")):
        yield Pair(claim, ANY, BEST, best(attack), best(against)), (_keys(known, attack), _keys(known, against))


def _of_what_he_has(known, keys, evidence, groups):
    """{key of HAS: candidates}; nothing where only the original was attacked."""
    alone = _keys(known, "NR", [str(ORIGINAL)])
    if not alone or len(alone) == len(known):
        return {}
    judged = [key for key in keys if all(key in one.areas for one in evidence)]
    tuned = [key for key in judged if is_tuned(key, groups) and key[2] not in (mr.REPEATED, *mr.ON_VIEWS)]
    views = [key for key in judged if key[2] in mr.ON_VIEWS]
    return {ORIGINAL_ALONE: alone, PUBLISHED: known,
            **{has: [*alone, *more] for has, more in ((TUNED, tuned), (VIEWED, views)) if more}}


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

def summary(chosen, evidence, measured):
    """The values of "best": what was chosen, each setting's rates, the steps between settings, and what every attack on
    compressed versions finds beyond the same where nothing is compressed; {} without shadows.

    measured: {metric: what `Chosen.measured` gives}. Rates are fractions; interval: over these models' points;
    over_seeds: Student's t over the runs, None for a single one. "RMIA": that on the original, if all runs have it.
    """
    names = {name: key for name, key in {**{setting: best(setting) for setting in SETTINGS}, **HAS}.items()
             if key in chosen.keys[0]}
    if not names:
        return {}
    found = {"chosen": [{name: {"attack": label(keys[key]), "shadow_auc": one.areas[keys[key]]}
                         for name, key in names.items()} for one, keys in zip(evidence, chosen.keys, strict=True)]}
    found |= {name: rates(measured, key) for name, key in names.items()}
    if LINE in chosen.keys[0]:
        found["RMIA"] = rates(measured, LINE)
    found["differences"] = {step: rates(measured, one, other)
                            for step, (one, other) in STEPS.items() if {one, other} <= set(names.values())}
    found["beyond controls"] = [{"attack": label(one), "against": label(other), **rates(measured, one, other)}
                                for one, other in chosen.beyond]
    return {**found, "text": sentence(found)}


def rates(measured, attack, against=None):
    """{metric: {"mean", "interval", "per_seed", "over_seeds"}} over runs of an attack, or of what it finds beyond
    another, fractions; measured as in `summary`. Where runs share pictures over_seeds is the wider interval of both."""
    found = {}
    for metric, of_runs in measured.items():
        one = over_runs(metric, of_runs, attack, against)
        found[metric] = {name: one[name] for name in ("mean", "interval", "per_seed")}
        several = len(of_runs) > 1 and PICTURES in of_runs[0]
        found[metric]["over_seeds"] = one["interval"] if several else t_interval(one["per_seed"])
    return found


def answer(evidence):
    """The attacker's best of some runs' Evidence in one line; where there is none, what is missing."""
    check_together(evidence)
    chosen = choose(evidence, common_keys(evidence))
    found = summary(chosen, evidence, {"auc": chosen.measured("auc", evidence)})
    return found["text"] if found else "No attacker's best: no attack has scores on a shadow"


def sentence(found):
    """The answer in one sentence: each setting's best by AUC in per cent, and what it adds in points."""
    name, parts = "published - original", []
    if name in found["differences"]:
        alone, every, step = (found["original"]["auc"], found["published"]["auc"], found["differences"][name]["auc"])
        parts = [f"best on the original alone {per_cent(alone)}, of all that is published {per_cent(every)} "
                 f"({name} {per_cent(step, '+')})"]
    for setting, words in SETTINGS.items():
        if setting in found:
            part = f"best {words} {per_cent(found[setting]['auc'])}"
            step = next((one for one in found["differences"] if one.startswith(f"{setting} ")), None)
            parts.append(part + (f" ({step} {per_cent(found['differences'][step]['auc'], '+')})" if step else ""))
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}; AUC in per cent, chosen on the shadow"


def per_cent(rate, sign=""):
    """'84.10 [83.55, 84.65]' of a rate, with its t interval over runs where there are several."""
    text = with_interval(rate["mean"], rate["interval"], sign=sign)
    return f"{text} over runs {bounds(rate['over_seeds'])}" if rate["over_seeds"] else text
