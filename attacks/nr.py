"""No reference: six attacks on one model, each fitted on the shadow of the same version."""
import numpy as np

from attacks import classifiers, metric_based, rmia
from attacks.features import train_based_features
from attacks.inputs import reference_game, stacked
from attacks.networks import accuracy_judge
from attacks.samia import samia_score, tokens, train_samia
from common.errors import CompLeakError
from common.paths import OWN
from common.seeds import derive_seed

A_GRID = np.linspace(0, 1, 11)
RELEASED_CUT = 0.7  # of the population score, in the released protocol
# {attack: (score of one model's Answers, whether each class has its own metric_based)}
METRICS = {
    "metric_based_1": (lambda model: metric_based.entropy_score(model.posteriors), True),
    "metric_based_2": (lambda model: metric_based.modified_entropy_score(model.posteriors, model.labels), True),
    "loss_threshold": (lambda model: metric_based.loss_score(model.losses), False),
    "correctness": (lambda model: metric_based.correctness_score(model.logits, model.labels), False),
}


def attack(target, shadows, seed, device, batch_size=128, rmia_a=0.5, choices=frozenset()):
    """{attack: (scores [m] float64, decisions [m] bool)} on the target's evaluation rows.

    What lacks its inputs is left out (`left_out`); without a shadow only the scores that need no fitting remain, their
    decisions None. rmia_a: a number in 0–1 or "auto", chosen on the shadow.
    choices: of the released protocol (models/protocol.py), none for sound results.
    """
    if not shadows:
        return {name: (score(target), None) for name, (score, _) in METRICS.items()}
    results = {}
    sensitivities = [model.sensitivity for model in (target, *shadows)]
    if all(sensitivity is not None for sensitivity in sensitivities):
        best_epoch = "best_attack_epoch" in choices
        results["SAMIA"] = _samia(target, shadows, derive_seed(seed, "SAMIA"), device, batch_size, best_epoch)
    results |= _thresholds(target, shadows)
    results |= _train_based(target, shadows, seed)
    if _asked(shadows, [target]):
        results |= _rmia(target, shadows, rmia_a, "rmia_population" in choices)
    return results


def _asked(models, about):
    """Whether these models answered all rows of those.

    Only models made elsewhere may lack some: a run's own models that do are out of date, which reading the rows says.
    """
    return models[0].queries.meta.get("rows") != OWN.dataset or all(
        model.queries.holds(other.index) for model in models for other in about)


def left_out(target, shadows):
    """One line for each attack that lacks its inputs, saying what it needs."""
    if not shadows:
        return ["SAMIA, train_based_1, train_based_2, RMIA and every ACC are left out: they need a shadow model"]
    lines = []
    if any(model.sensitivity is None for model in (target, *shadows)):
        lines.append("SAMIA is left out: it needs sensitivity.npz beside each queries.npz")
    if not _asked(shadows, [target]):
        lines.append("RMIA is left out: it needs every shadow's answers on the target's scored rows")
    elif not _asked([target, *shadows], shadows):
        lines.append("RMIA's ACC and its population score are left out: they need "
                     "every model's answers on the shadows' scored rows")
    return lines


def _samia(target, shadows, seed, device, batch_size, best_epoch):
    judge = None
    if best_epoch:
        shown = tokens(target.posteriors, target.sensitivity, target.labels, device)
        judge = accuracy_judge(shown, target.member)
    model = train_samia(stacked(shadows, "posteriors"), stacked(shadows, "sensitivity"), stacked(shadows, "labels"),
                        stacked(shadows, "member"), seed, device, batch_size=batch_size, judge=judge)
    scores = samia_score(model, target.posteriors, target.sensitivity, target.labels)
    return scores, scores > 0


def _thresholds(target, shadows):
    """Entropy and modified entropy with a threshold per class; loss and correctness with one for all."""
    member, labels = stacked(shadows, "member"), stacked(shadows, "labels")
    results = {}
    for name, (score, per_class) in METRICS.items():
        on_shadows, scores = np.concatenate([score(shadow) for shadow in shadows]), score(target)
        if per_class:
            cuts = metric_based.fit_class_thresholds(on_shadows, member, labels, target.logits.shape[1])[target.labels]
        else:
            cuts = metric_based.fit_threshold(on_shadows, member)
        results[name] = (scores, scores >= cuts)
    return results


def _train_based(target, shadows, seed):
    results, member = {}, stacked(shadows, "member")
    for name, labelled in (("train_based_1", False), ("train_based_2", True)):
        labels = (stacked(shadows, "labels"), target.labels) if labelled else (None, None)
        fitted_on = train_based_features(stacked(shadows, "posteriors"), labels[0])
        scored = train_based_features(target.posteriors, labels[1])
        for kind, fit in fits(seed).items():
            scores = fit(fitted_on, member).score(scored)
            results[f"{name} ({kind})"] = (scores, scores > 0.5)
    return results


def fits(seed):
    """The two classifiers by name: fit(features, member) → Classifier; one forest seed for every attack."""
    forest_seed = derive_seed(seed, "forest")
    return {"LR": classifiers.fit_logistic,
            "RF": lambda features, member: classifiers.fit_forest(features, member, forest_seed)}


def _rmia(target, shadows, a, released):
    """RMIA by ratio, and its population score; a and the threshold come from the game with the roles mirrored.

    released: the population score of the released protocol's choice rmia_population. Where the models cannot play that
    game, a must be given, and the ratio alone remains, without decisions.
    """
    if not _asked([target, *shadows], shadows):
        if a == "auto":
            raise CompLeakError("--rmia_a auto: choosing it needs every model's answers on the shadows' scored "
                                "rows; give a number in 0-1")
        return {"RMIA": (rmia.ratio(*reference_game(target, target.index, shadows), a), None)}
    mirrored = [reference_game(shadow, shadow.index, [target]) for shadow in shadows]
    mirrored = [np.concatenate(parts) for parts in zip(*mirrored, strict=True)]
    member = stacked(shadows, "member")
    if a == "auto":
        a = rmia.choose_a(*mirrored, member, A_GRID)
    cut = metric_based.fit_threshold(rmia.ratio(*mirrored, a), member)
    ratio = rmia.ratio(*reference_game(target, target.index, shadows), a)
    if released:
        everywhere = np.unique(np.concatenate([shadow.index for shadow in shadows]))
        p, p_references, usable = reference_game(target, everywhere, shadows)
        # a = 1 leaves the references' mean as it is.
        ratio_z = rmia.ratio(p, p_references, np.ones_like(usable), 1)
        population_scores = rmia.population_score(ratio, ratio_z)
        return {"RMIA": (ratio, ratio >= cut),
                "RMIA (population)": (population_scores, population_scores >= RELEASED_CUT)}
    population = np.unique(np.concatenate([shadow.index[~shadow.member] for shadow in shadows]))
    ratio_z = rmia.ratio(*reference_game(target, population, shadows), a)
    return {"RMIA": (ratio, ratio >= cut), "RMIA (population)": (rmia.population_score(ratio, ratio_z), ratio >= cut)}
