"""evaluation/best.py: what is compared among equals is chosen on the shadow alone, and controls are never chosen."""
import contextlib
import io
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t

from attacks import mr, nr, sr
from attacks.attack import FITTED, NONE, REFERENCE
from common.files import read_json
from common.metrics import auc
from common.paths import ORIGINAL, Version
from evaluation import best, claims
from evaluation.claims_table import table_of
from evaluation.comparisons import BEST, SAME_KNOWLEDGE
from evaluation.names import attack_of
from models.run import Run

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
GROUPS = {"both": ["pruning_0.6", "clustering_4"], "fine-tuned two": ["pruning_1e-07", "pruning_2e-07"]}
N = 400


@dataclass(frozen=True)
class Made:
    """As evidence.Evidence, as far as a choice reads it."""

    scores: dict
    areas: dict
    member: np.ndarray
    groups: dict
    run: object
    index = np.arange(N)


def made(areas, seed=0, strength=None):
    """A run whose attacks have these areas on the shadow, and on the target scores of the strength given by key."""
    rng, member = np.random.default_rng(seed), np.arange(N) < N // 2
    scores = {key: rng.normal(size=N) + (strength or {}).get(key, 0) * member for key in areas}
    return Made(scores, dict(areas), member, GROUPS, SimpleNamespace(settings=SimpleNamespace(seed=seed)))


NR = {("NR", model, attack): area for model in ("original", "pruning_0.6", "clustering_4")
      for attack, area in (("metric_based_2", 0.6), ("confidence", 0.62), ("RMIA", 0.7), ("calibrated", 0.71))}
SR = {("SR", model, attack): area for model in ("pruning_0.6", "clustering_4")
      for attack, area in (("SR2 (RF)", 0.64), ("confidence", 0.65), ("calibrated", 0.72), ("ratio", 0.5))}
MR = {("MR", "both", row): 0.66 + 0.01 * place for place, row in enumerate(mr.ROWS)}
AREAS = {**NR, **SR, **MR}


def test_the_choice_is_the_shadows_though_the_target_would_choose_otherwise():
    weak, strong = ("NR", "original", "calibrated"), ("NR", "clustering_4", "metric_based_2")
    one = made({**AREAS, weak: 0.9}, strength={strong: 3.0})
    chosen = best.choose([one], list(one.scores))
    assert chosen.keys[0][best.best("NR")] == weak
    assert chosen.measured("auc", [one])[0][best.best("NR")][0].mean() == pytest.approx(
        auc(one.scores[weak], one.member))
    flipped = Made(one.scores, one.areas, ~one.member, GROUPS, one.run)
    assert best.choose([flipped], list(one.scores)).keys == chosen.keys


def test_each_seed_chooses_by_itself_and_only_among_what_all_runs_have():
    first, second = made({**AREAS, ("SR", "clustering_4", "ratio"): 0.99}), made(AREAS, 1)
    del second.areas["NR", "original", "calibrated"]
    chosen = best.choose([first, second], list(first.scores))
    assert [keys[best.best("SR")] for keys in chosen.keys] == [
        ("SR", "clustering_4", "ratio"), ("SR", "pruning_0.6", "calibrated")]
    assert all(keys[best.best("NR")] == ("NR", "pruning_0.6", "calibrated") for keys in chosen.keys)


def test_controls_are_never_chosen_and_are_in_no_pair():
    controls = {("SR", "pruning_1e-07", "calibrated"): 0.99, ("NR", "pruning_1e-07", "calibrated"): 0.99,
                ("MR", "fine-tuned two", "calibrated with the original"): 0.99,
                ("MR", "both", mr.REPEATED): 0.99, ("MR", "both", "calibrated on views"): 0.99}
    one = made({**AREAS, **controls})
    chosen = best.choose([one], list(one.scores))
    tuned, viewed = chosen.keys[0].pop(best.TUNED), chosen.keys[0].pop(best.VIEWED)
    assert viewed == ("MR", "both", "calibrated on views")
    assert not set(chosen.keys[0].values()) & set(controls) and tuned in controls and tuned[2] != mr.REPEATED
    assert not [pair for pair in chosen.pairs if "fine" in str(pair)]
    weak = made({**AREAS, **dict.fromkeys(controls, 0.55)})  # he who has fine-tuned versions still has the original
    assert best.choose([weak], list(weak.scores)).keys[0][best.TUNED] == ("NR", "original", "calibrated")


def test_equal_knowledge_meets_on_the_models_that_are_given():
    one = made(AREAS)
    chosen = best.choose([one], list(one.scores))
    of = {(pair.version, pair.attack[2]): pair for pair in chosen.pairs if pair.judged == SAME_KNOWLEDGE}
    assert {version for version, _ in of} == {"pruning_0.6", "clustering_4", "both, with the original",
                                              "both, without the original"}
    keys = chosen.keys[0]
    for (version, _), pair in of.items():
        attack, against = keys[pair.attack], keys[pair.against]
        assert attack_of(attack).knowledge == attack_of(against).knowledge
        models = GROUPS["both"] if "both" in version else [version]
        assert against[1] in ([] if "without" in version else ["original"]) + models
    reference = of["both, without the original", f"best {REFERENCE} attack without the original"]
    assert keys[reference.attack] == ("MR", "both", "joint_LiRA_online (Bayes) without the original")
    assert keys[reference.against] == ("NR", "pruning_0.6", "calibrated")
    assert not any(attack == f"best {NONE} attack" for _, attack in of)  # SR lacks the loss that NR has
    assert keys[of["pruning_0.6", f"best {FITTED} attack"].attack] == ("SR", "pruning_0.6", "confidence")
    assert [(pair.claim, pair.attack[0], pair.against[0]) for pair in chosen.pairs if pair.judged == BEST] == [
        ("C2", "SR", "NR"), ("C3", "MR", "SR")]


def test_the_summary_is_of_the_chosen_scores_and_its_t_interval_is_students():
    runs = [made(AREAS, seed, {("SR", "pruning_0.6", "calibrated"): 1.0}) for seed in range(3)]
    chosen = best.choose(runs, list(AREAS))
    found = best.summary(chosen, runs, {metric: chosen.measured(metric, runs) for metric in ("auc", "tpr")})
    step = found["differences"]["SR - NR"]["auc"]
    each = np.subtract(found["SR"]["auc"]["per_seed"], found["NR"]["auc"]["per_seed"])
    assert step["per_seed"] == pytest.approx(each) and step["mean"] == pytest.approx(each.mean())
    assert step["over_seeds"] == pytest.approx(t.interval(0.95, 2, each.mean(), each.std(ddof=1) / np.sqrt(3)))
    assert step["interval"][0] < step["mean"] < step["interval"][1] and step["mean"] > 0.1
    assert found["chosen"][0]["SR"] == {"attack": "calibrated on original + pruning_0.6", "shadow_auc": 0.72}
    for words in ("Best on the original alone", "of all that is published", "best on one model",
                  "with one compressed", "(SR - NR +", "with several", "over runs ["):
        assert words in found["text"]


def test_targets_that_share_pictures_have_the_wider_interval_of_both():
    each = []
    for runs in ([made(AREAS)] * 3, [made(AREAS)]):  # of one seed: no spread, so only the pictures' luck is left
        chosen = best.choose(runs, list(AREAS))
        each.append(best.summary(chosen, runs, {"auc": chosen.measured("auc", runs)}))
    found, alone = each
    for rate in (found["NR"]["auc"], found["differences"]["SR - NR"]["auc"]):
        assert rate["over_seeds"] == rate["interval"] and rate["over_seeds"][1] > rate["over_seeds"][0]
    assert found["NR"]["auc"]["interval"] == pytest.approx(alone["NR"]["auc"]["interval"])


def test_attacks_are_compared_with_themselves_on_as_many_controls():
    tuned = {("SR", "pruning_1e-07", "calibrated"): 0.6, ("MR", "fine-tuned two", "calibrated with the original"): 0.6}
    views = {("MR", group, "calibrated on views"): 0.99 for group in ("both", "fine-tuned two")}
    one = made({**AREAS, **tuned, **views}, strength={("MR", "both", "calibrated with the original"): 2.0})
    chosen = best.choose([one], list(one.scores))
    several = ("MR", "both", "calibrated with the original"), ("MR", "fine-tuned two", "calibrated with the original")
    assert chosen.beyond == [(("SR", model, "calibrated"), ("SR", "pruning_1e-07", "calibrated"))
                             for model in ("pruning_0.6", "clustering_4")] + [several, (
                                 several[0], ("MR", "both", "calibrated on views"))]
    assert chosen.keys[0].pop(best.VIEWED) in views and not views.keys() & set(chosen.keys[0].values())
    chosen.keys[0][best.VIEWED] = ("MR", "both", "calibrated on views")
    found = best.summary(chosen, [one], {"auc": chosen.measured("auc", [one])})["beyond controls"][-2]
    assert found["against"] == "MR of fine-tuned two, calibrated with the original"
    expected = auc(one.scores[several[0]], one.member) - auc(one.scores[several[1]], one.member)
    assert found["auc"]["mean"] == pytest.approx(expected) and expected > 0.2


def test_a_single_run_has_no_interval_over_seeds_and_without_shadows_there_is_no_best():
    one = made(NR)
    chosen = best.choose([one], list(NR))
    assert not chosen.pairs and best.best("NR") in chosen.keys[0]
    found = best.summary(chosen, [one], {"auc": chosen.measured("auc", [one])})
    assert found["NR"]["auc"]["over_seeds"] is None and list(found["differences"]) == ["published - original"]
    alone = best.choose([one], [key for key in NR if key[1] == "original"])
    assert not best.summary(alone, [one], {"auc": alone.measured("auc", [one])})["differences"]
    assert best.summary(best.choose([Made(one.scores, {}, one.member, {}, one.run)], list(NR)), [one], {}) == {}


def test_claims_open_with_the_attackers_best_of_saved_results(made_up_run, made_up):
    layout = made_up_run([PRUNED, CLUSTERED], n=4000)
    run = Run(layout)
    split, rng = run.split, np.random.default_rng(0)
    target = np.isin(np.sort(split.target.evaluation), split.target.members)
    shadow = np.isin(np.sort(split.shadows[0].evaluation), split.shadows[0].members)

    def save(version, setting, names, **more):
        scored = {name: (rng.normal(size=len(target)) + target, None, rng.normal(size=len(shadow)) + strength * shadow)
                  for name, strength in names.items()}
        made_up.scores(run, version, setting, scored, shadow_member=shadow, **more)

    attacks = {name: 1.0 for name, attack in nr.ATTACKS.items() if not attack.sensitive}
    for version in (ORIGINAL, PRUNED, CLUSTERED):
        save(version, "NR", {**attacks, "RMIA": 2.0 if version == CLUSTERED else 1.0})
        if version != ORIGINAL:
            save(version, "SR", {**dict.fromkeys(sr.ATTACKS, 1.0), "ratio": 3.0 if version == PRUNED else 1.0})
    group = {"both": [PRUNED, CLUSTERED]}
    save(ORIGINAL, "MR", {f"both, {row}": 1.0 + (row == "confidence without the original") for row in mr.ROWS},
         groups=group)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        claims.main(["--dataset_name", "digits", "--run_dir", str(layout.run_dir)])
    saved = read_json(layout.result(ORIGINAL, "claims.json"))
    chosen = saved["best"]["chosen"][0]
    assert chosen["NR"]["attack"] == "RMIA on clustering_4"
    assert chosen["SR"]["attack"] == "ratio on original + pruning_0.6"
    assert chosen["MR"]["attack"] == "MR of both, confidence without the original"
    said = [line for line in out.getvalue().splitlines() if line.startswith(("Best on", "claims  "))]
    assert said[0] == saved["best"]["text"] and said[1].startswith("claims  ")
    assert next(iter(table_of(saved).blocks)).startswith("Attacker's best")
    assert {"same knowledge", "attacker's best"} <= saved["verdicts"]["C2"]["judged"].keys()
    assert {"same knowledge", "attacker's best"} <= saved["verdicts"]["C3"]["judged"].keys()
