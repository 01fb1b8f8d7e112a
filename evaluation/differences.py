"""How far a choice of protocol moves the results: runs paired on the same points, and the table of it."""
import numpy as np
import pandas as pd

from attacks import mr, nr, sr
from attacks.groups import groups_of
from attacks.results import RELEASED_RESAMPLES, Results
from common.intervals import delong, normal_interval, paired_tprs, percentile_interval, resamples_of
from common.metrics import LOW_FPR, auc, balanced_accuracy, tpr_at_fpr
from common.paths import ORIGINAL
from evaluation.comparisons import combine
from evaluation.evidence import read_judged
from evaluation.tables import RATES
from evaluation.writing import Table, flat
from models import protocol

FORMAT = 6  # of ablation.json; earlier ones measured choices less like the released code, or do not name their runs
NR_ATTACKS = ("SAMIA", "metric_based_2", "train_based_2 (RF)", "RMIA", "RMIA (population)")
SR_ATTACKS = ("SR2 (LR)", "SR2 (RF)")
SHOWN = ("acc", "auc", "tpr")
LABELS = ["choice", "setting", "model", "attack"]
TOGETHER = "together"
CAPTION = ("What the choices of the authors' released code are worth, each switched on alone: sound → changed "
           "(difference [95% interval]), per cent, on the same points; AUC by DeLong, TPR at 0.1% FPR by the paired "
           "bootstrap. Over several seeds: means, intervals as in the claims, and AUC's difference seed by seed")


def differences(runs, released_tpr=None):
    """{"acc", "auc", "tpr"}: each {"sound", "changed", "difference", "interval", "per_seed"} in fractions.

    runs: one (before, after, member) a seed; before, after: (scores [n], decisions [n] bool) of the same n points;
    member [n] bool. difference: changed minus sound, the mean of the seeds', which stand in per_seed.
    released_tpr: (scores, member) → the TPR of `after` as the released protocol reads it, None to read it soundly.
    AUC by DeLong, ACC by its normal standard error, TPR at 0.1% FPR by the paired bootstrap; scores of different seeds
    never meet.
    """
    found = {}
    for rate, of_one in (("acc", _acc), ("auc", _auc)):
        sound, changed, variances = np.transpose([of_one(*run) for run in runs])
        found[rate] = _over_seeds(sound, changed, normal_interval(*combine(changed - sound, variances)))
    sound, changed, replicates = zip(*(_tpr(*run, seed, released_tpr) for seed, run in enumerate(runs)), strict=True)
    return {**found, "tpr": _over_seeds(sound, changed, percentile_interval(np.mean(replicates, axis=0)))}


def _over_seeds(sound, changed, interval):
    each = np.subtract(changed, sound)
    return {"sound": float(np.mean(sound)), "changed": float(np.mean(changed)), "difference": float(each.mean()),
            "interval": interval, "per_seed": each.tolist()}


def _auc(before, after, member):
    """AUC before and after, and the variance of their difference."""
    return auc(before[0], member), auc(after[0], member), delong(after[0], before[0], member)["standard_error"] ** 2


def _acc(before, after, member):
    """Balanced accuracy before and after, and the variance of their difference: half the members' mean change of
    decision, less half the non-members'."""
    change = np.asarray(after[1], dtype=float) - np.asarray(before[1], dtype=float)
    variance = sum(change[side].var(ddof=1) / side.sum() for side in (member, ~member)) / 4
    return balanced_accuracy(before[1], member), balanced_accuracy(after[1], member), variance


def _tpr(before, after, member, seed, released_tpr):
    """TPR before and after, and their differences in stratified resamples; seed of the bootstrap."""
    sound = tpr_at_fpr(before[0], member)
    if not released_tpr:
        first, second = paired_tprs([before[0], after[0]], member, LOW_FPR, seed)
        return sound, tpr_at_fpr(after[0], member), second - first
    resamples = resamples_of(member, np.random.default_rng(seed), RELEASED_RESAMPLES)
    return sound, released_tpr(after[0], member), np.array([
        released_tpr(after[0][rows], member[rows]) - tpr_at_fpr(before[0][rows], member[rows])
        for rows in resamples])


def measure(pairs, choice, versions, interpolated):
    """A dictionary for each attack of interest that all runs made: LABELS, seeds, then each rate's differences.

    pairs: (sound Run, changed Run), one a seed; interpolated: whether the changed TPR is read as the choice
    interpolated_tpr has it.
    """
    places = [("NR", ORIGINAL, NR_ATTACKS), *(("SR", version, SR_ATTACKS) for version in versions),
              ("MR", ORIGINAL, [f"{group}, {knows}" for group in groups_of(versions) for knows in mr.AGGREGATED])]
    rows, seeds = [], [run.settings.seed for run, _ in pairs]
    for setting, version, attacks in places:
        loaded = [[_decided(Results(run, version, setting)) for run in pair] for pair in pairs]
        if any(None in pair for pair in loaded):
            if attacks:
                print(f"{choice}: {setting} on {version} is left out, which not every run has")
            continue
        for (index, member, _), (other_index, other_member, _) in loaded:
            assert (index == other_index).all() and (member == other_member).all(), "one split, one order of rows"
        everywhere = [name for name in loaded[0][0][2] if all(name in one[2] for pair in loaded for one in pair)]
        if lacking := [name for name in attacks if name not in everywhere]:
            print(f"{choice}: {setting} on {version} is compared without {', '.join(lacking)}, which not every run has")
        for name in [name for name in everywhere if name in attacks]:
            attack = {"NR": nr.ATTACKS, "SR": sr.ATTACKS}[setting][name] if setting != "MR" else mr.attack_of(name)
            moved = differences([(before[2][name], after[2][name], before[1]) for before, after in loaded],
                                attack.released_tpr if interpolated else None)
            rows.append({"choice": choice, "setting": setting, "model": str(version), "attack": name, "seeds": seeds,
                         **moved})
    return rows


def _decided(results):
    """(index [m], member [m], {attack: (scores, decisions)}) of a result, or None where there is none."""
    values = results.saved()
    if values is None:
        return None
    index, member, scored = results.scored(values["attacks"])
    return index, member, {name: one[:2] for name, one in scored.items() if one.decisions is not None}


def table(run):
    """The ablation's Table from ablation.json, or None where the run has none of its present results."""
    saved = read_judged([run], "ablation.json", "evaluation.ablation",
                        lambda saved: saved.get("format") == FORMAT and saved["runs"])
    if saved is None:
        return None
    frame = pd.DataFrame([_flat(row) for row in saved["rows"]])
    text = frame[LABELS].copy()
    for rate in SHOWN:
        text[RATES[rate]] = [_change(row, rate) for row in frame.to_dict("records")]
    if any(len(row["seeds"]) > 1 for row in saved["rows"]):
        text["AUC seed by seed"] = [" ".join(f"{100 * value:+.2f}" for value in row["auc"]["per_seed"])
                                    for row in saved["rows"]]
    blocks = {}
    for choice in frame["choice"].unique():
        mine = frame["choice"] == choice
        seeds = ", ".join(frame["seeds"][mine].iloc[0].split())
        blocks[f"{choice}: {describe(choice)}; seed {seeds}"] = text[mine].drop(columns="choice")
    return Table("ablation", f"{CAPTION}. {saved['data']}.", frame, blocks)


def _flat(row):
    """A row of the CSV: labels, then sound, changed, difference, low, high and per_seed of each rate, fractions."""
    return flat({**{name: row[name] for name in (*LABELS, "seeds")},
                 **{f"{rate}_{name}": value for rate in SHOWN for name, value in row[rate].items()}})


def describe(choice):
    """A choice in words."""
    if choice == TOGETHER:
        return "all choices that need no models of their own"
    if choice == protocol.RELEASED:
        return "all choices at once, with models trained under them"
    return "; ".join(protocol.CHOICES[one] for one in protocol.CHOICES if one in protocol.parse(choice))


def _change(row, rate):
    """'sound → changed (difference [interval])' in per cent."""
    keys = ("sound", "changed", "difference", "low", "high")
    sound, changed, difference, low, high = (100 * row[f"{rate}_{key}"] for key in keys)
    return f"{sound:.2f} → {changed:.2f} ({difference:+.2f} [{low:+.2f}, {high:+.2f}])"
