"""Every known answer in tests/vectors (see its README for where they come from and their tolerances)."""

import json
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest

from attacks import classifiers
from attacks.classifiers import cross_fit, fit_forest, fit_logistic
from attacks.features import softmax64, sr_features, train_based_features
from attacks.metric_based import (
    correctness_score,
    entropy_score,
    fit_class_thresholds,
    fit_threshold,
    loss_score,
    modified_entropy_score,
)
from attacks.mr_network import multi_score, train_multi
from attacks.rmia import log_ratio, population_score
from common.metrics import auc, balanced_accuracy, tpr_at_fpr

FOLDER = Path(__file__).parents[1] / "vectors"
ANSWERS = json.loads((FOLDER / "answers.json").read_text())
with np.load(FOLDER / "outputs.npz", allow_pickle=False) as stored:
    OUTPUTS = {name: stored[name] for name in stored.files}
WORLDS = ("shadow", "target")
EXACT = 1e-9


def keys(*parts):
    return [key for key in ANSWERS if any(part in key for part in parts)]


def of_world(world):
    return OUTPUTS[f"{world}_labels"], OUTPUTS[f"{world}_member"]


def metric_score(kind, world, model):
    logits, labels = OUTPUTS[f"{world}_{model}_logits"], OUTPUTS[f"{world}_labels"]
    posteriors = softmax64(logits)
    return {"entropy": lambda: entropy_score(posteriors),
            "modified_entropy": lambda: modified_entropy_score(posteriors, labels),
            "loss": lambda: loss_score(-np.log(posteriors[np.arange(len(labels)), labels])),
            "correct": lambda: correctness_score(logits, labels)}[kind]()


@pytest.mark.parametrize("key", keys("entropy", "/loss", "/correct"))
def test_metric_based(key):
    model, kind = key.split("/")
    shadow, target = (metric_score(kind, world, model) for world in WORLDS)
    (shadow_labels, shadow_member), (labels, member) = map(of_world, WORLDS)
    # One pair of points is in the wrong order in this stored answer: see the next test.
    pairs = 1 if key == "clustering_8/modified_entropy" else 0
    assert auc(target, member) == pytest.approx(ANSWERS[key]["auc"], abs=EXACT + pairs / 1000**2)
    assert tpr_at_fpr(target, member) == pytest.approx(ANSWERS[key]["tpr"], abs=EXACT + pairs / 1000)
    decisions = target >= fit_threshold(shadow, shadow_member)
    assert balanced_accuracy(decisions, member) == pytest.approx(ANSWERS[key]["acc_global_threshold"], abs=EXACT)
    if "acc_per_class_threshold" in ANSWERS[key]:
        thresholds = fit_class_thresholds(shadow, shadow_member, shadow_labels, 10)
        decisions = target >= thresholds[labels]
        assert balanced_accuracy(decisions, member) == pytest.approx(ANSWERS[key]["acc_per_class_threshold"], abs=EXACT)


def test_the_top_modified_entropies_agree_with_fifty_digits():
    """The 14 highest, where float64 is strained and where the stored answer for clustering_8 differs."""
    logits, labels = OUTPUTS["target_clustering_8_logits"], OUTPUTS["target_labels"]
    scores = modified_entropy_score(softmax64(logits), labels)
    with localcontext() as context:
        context.prec = 50
        for row in np.argsort(-scores)[:14]:
            powers = [Decimal(float(logit)).exp() for logit in logits[row]]
            p = [power / sum(powers) for power in powers]
            true = p.pop(labels[row])
            exact = (1 - true) * true.ln() + sum(other * (1 - other).ln() for other in p)
            assert scores[row] == pytest.approx(float(exact), rel=1e-12, abs=0)


def classifier_features(key):
    if "train_based" in key:
        model, attack, _ = key.split("/")
        return [train_based_features(softmax64(OUTPUTS[f"{world}_{model}_logits"]),
                                     OUTPUTS[f"{world}_labels"] if attack.endswith("2") else None) for world in WORLDS]
    models, attack, _ = key.split("/")
    original, compressed = models.split("+")
    return [sr_features(OUTPUTS[f"{world}_{original}_logits"], OUTPUTS[f"{world}_{compressed}_logits"],
                        OUTPUTS[f"{world}_labels"], attack == "SR2") for world in WORLDS]


@pytest.mark.parametrize("key", keys("train_based", "/SR"))
def test_classifiers(key):
    shadow, target = classifier_features(key)
    forest = key.endswith("rf")
    member = OUTPUTS["shadow_member"]
    fitted = fit_forest(shadow, member, 0) if forest else fit_logistic(shadow, member)
    scores, member = fitted.score(target), OUTPUTS["target_member"]
    tolerance = 0.01 if forest else 0.002
    assert auc(scores, member) == pytest.approx(ANSWERS[key]["auc"], abs=tolerance)
    # A forest's own noise moves the TPR (ten points of a thousand), so its tolerance there is wide.
    assert tpr_at_fpr(scores, member) == pytest.approx(ANSWERS[key]["tpr"], abs=0.015 if forest else 0.002)
    assert balanced_accuracy(scores > 0.5, member) == pytest.approx(ANSWERS[key]["acc"], abs=tolerance)


def test_stacking_on_out_of_bag_scores_equals_stacking_on_refitted_ones(monkeypatch):
    """MR's network on both versions' SR2 forests: one fit each instead of six, the same AUC on the target."""
    monkeypatch.setattr(classifiers, "TREES", 60)
    member, found = OUTPUTS["shadow_member"], {"out of bag": [], "refitted": []}
    target_scores, losses = [], {world: [] for world in WORLDS}
    for version in ("pruning_0.6", "clustering_8"):
        shadow, target = classifier_features(f"original+{version}/SR2/rf")
        forest = fit_forest(shadow, member, 0)
        found["out of bag"].append(forest.score_out_of_bag())
        found["refitted"].append(cross_fit(lambda x, y: fit_forest(x, y, 0), shadow, member, seed=0))
        target_scores.append(forest.score(target))
        for world in WORLDS:
            losses[world].append(-metric_score("loss", world, version))
    areas = {}
    for how, scores in found.items():
        network = train_multi(np.transpose(scores), np.transpose(losses["shadow"]), member, 0, "cpu", epochs=20)
        log_odds = multi_score(network, np.transpose(target_scores), np.transpose(losses["target"]))
        areas[how] = auc(log_odds, OUTPUTS["target_member"])
    assert areas["out of bag"] == pytest.approx(areas["refitted"], abs=0.002) and areas["out of bag"] > 0.78


def rmia_ratios(a):
    """Ratios of the target's points, and of the shadow's non-members as the population."""
    def true_posterior(name, world):
        labels = OUTPUTS[f"{world}_labels"]
        return np.log(softmax64(OUTPUTS[f"{name}_logits"])[np.arange(len(labels)), labels])

    every = np.ones((2000, 1), dtype=bool)
    x = log_ratio(true_posterior("target_original", "target"),
                  true_posterior("shadow_original_on_target", "target")[:, None], every, a)
    z = log_ratio(true_posterior("target_original_on_shadow", "shadow"),
                  true_posterior("shadow_original", "shadow")[:, None], every, a)
    return np.exp(x), np.exp(z[~OUTPUTS["shadow_member"]])


@pytest.mark.parametrize("key", keys("rmia"))
def test_rmia(key):
    settings = dict(part.split("=") for part in key.split("/") if "=" in part)
    x, z = rmia_ratios(float(settings["a"]))
    scores = population_score(x, z, float(settings["gamma"])) if "gamma" in settings else x
    np.testing.assert_allclose(scores[:8], ANSWERS[key]["first_scores"], rtol=1e-9)
    member = OUTPUTS["target_member"]
    assert auc(scores, member) == pytest.approx(ANSWERS[key]["auc"], abs=EXACT)
    assert tpr_at_fpr(scores, member) == pytest.approx(ANSWERS[key]["tpr"], abs=EXACT)
