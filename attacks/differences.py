"""How far a choice of protocol moves the results: two runs paired on the same points, and the table of it."""
import numpy as np
import pandas as pd

from attacks.intervals import delong, normal_interval, paired_tprs, percentile_interval, resamples_of
from attacks.metrics import LOW_FPR, auc, balanced_accuracy, interpolated_tpr, tpr_at_fpr
from attacks.results import INTERPOLATED_RESAMPLES, load_decided
from attacks.tables import RATES, Table
from models import protocol
from models.checkpoint import ORIGINAL, read_json

NR_ATTACKS = ("SAMIA", "metric_based_2", "train_based_2 (RF)", "RMIA", "RMIA (population)")
SR_ATTACKS = ("SR2 (LR)", "SR2 (RF)")
SHOWN = ("acc", "auc", "tpr")
LABELS = ["choice", "setting", "model", "attack"]
TOGETHER = "together"
CAPTION = ("What the choices of the authors' released code are worth, each switched on alone: sound → changed "
           "(difference [95% interval]), per cent, on the same points; AUC by DeLong, TPR at 0.1% FPR by the paired "
           "bootstrap")


def differences(before, after, member, seed, interpolated=False):
    """{"acc", "auc", "tpr"}: each {"sound", "changed", "difference", "interval"} in fractions, changed minus sound.

    before, after: (scores [n], decisions [n] bool) of the same n points; member [n] bool; seed of the bootstrap.
    interpolated: the TPR of `after` is read off the ROC curve by linear interpolation.
    AUC by DeLong, ACC by its normal standard error, TPR at 0.1% FPR by the paired bootstrap.
    """
    member = np.asarray(member, dtype=bool)
    area = delong(after[0], before[0], member)
    found = {"acc": _acc(before[1], after[1], member),
             "auc": _pair(auc(before[0], member), auc(after[0], member),
                          normal_interval(area["difference"], area["standard_error"]))}
    if interpolated:
        tprs = tpr_at_fpr(before[0], member), interpolated_tpr(after[0], member)
        replicates = _interpolated_replicates(before[0], after[0], member, seed)
    else:
        tprs = tpr_at_fpr(before[0], member), tpr_at_fpr(after[0], member)
        first, second = paired_tprs([before[0], after[0]], member, LOW_FPR, seed)
        replicates = second - first
    return {**found, "tpr": _pair(*tprs, percentile_interval(replicates))}


def _pair(sound, changed, interval):
    return {"sound": sound, "changed": changed, "difference": changed - sound, "interval": interval}


def _acc(before, after, member):
    """Balanced accuracy: half the members' mean change of decision, less half the non-members'."""
    change = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    variance = sum(change[side].var(ddof=1) / side.sum() for side in (member, ~member)) / 4
    sound, changed = balanced_accuracy(before, member), balanced_accuracy(after, member)
    return _pair(sound, changed, normal_interval(changed - sound, np.sqrt(variance)))


def _interpolated_replicates(before, after, member, seed):
    """Differences of TPR in stratified resamples, `after` interpolated."""
    resamples = resamples_of(member, np.random.default_rng(seed), INTERPOLATED_RESAMPLES)
    return [interpolated_tpr(after[rows], member[rows]) - tpr_at_fpr(before[rows], member[rows]) for rows in resamples]


def measure(before, after, choice, variants, interpolated):
    """A dictionary for each attack of interest that both runs (Layouts) made: LABELS, then each rate's differences."""
    places = [("NR", ORIGINAL, NR_ATTACKS), *(("SR", variant, SR_ATTACKS) for variant in variants),
              ("MR", ORIGINAL, None)]
    rows = []
    for setting, variant, attacks in places:
        pair = [load_decided(layout.result(variant, f"{setting}_scores.npz"), "the command again")
                for layout in (before, after)]
        if None in pair:
            continue
        (index, member, sound), (other_index, other_member, changed) = pair
        assert (index == other_index).all() and (member == other_member).all(), "one split, one order of rows"
        for name in [name for name in sound if name in changed and (attacks is None or name in attacks)]:
            moved = differences(sound[name], changed[name], member, 0, interpolated)
            rows.append({"choice": choice, "setting": setting, "model": str(variant), "attack": name, **moved})
    return rows


def table(layout):
    """The ablation's Table from ablation.json, or None where the run has none."""
    path = layout.result(ORIGINAL, "ablation.json")
    if not path.exists():
        return None
    saved = read_json(path, f"python -m attacks.ablation {layout.flags}")
    frame = pd.DataFrame([_flat(row) for row in saved["rows"]])
    text = frame[LABELS].copy()
    for rate in SHOWN:
        text[RATES[rate]] = [_change(row, rate) for row in frame.to_dict("records")]
    blocks = {f"{choice}: {describe(choice)}": text[frame["choice"] == choice].drop(columns="choice")
              for choice in frame["choice"].unique()}
    return Table("ablation", f"{CAPTION}. {saved['data']}; seed {saved['seed']}.", frame, blocks)


def _flat(row):
    """A row of the CSV: labels, then sound, changed, difference, low and high of each rate, fractions."""
    flat = {label: row[label] for label in LABELS}
    for rate in SHOWN:
        low, high = row[rate]["interval"]
        flat |= {f"{rate}_{key}": row[rate][key] for key in ("sound", "changed", "difference")}
        flat |= {f"{rate}_low": low, f"{rate}_high": high}
    return flat


def describe(choice):
    """A choice in words."""
    if choice == TOGETHER:
        return "all choices that need no models of their own"
    return "; ".join(protocol.CHOICES[one] for one in protocol.CHOICES if one in protocol.parse(choice))


def _change(row, rate):
    """'sound → changed (difference [interval])' in per cent."""
    keys = ("sound", "changed", "difference", "low", "high")
    sound, changed, difference, low, high = (100 * row[f"{rate}_{key}"] for key in keys)
    return f"{sound:.2f} → {changed:.2f} ({difference:+.2f} [{low:+.2f}, {high:+.2f}])"
