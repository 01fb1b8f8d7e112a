"""Result files and what is printed of them: attacks' scores and metrics, saved beside the target they score."""
import numpy as np

from common.files import load_arrays, read_json, save_arrays, write_json
from common.intervals import auc_interval, bootstrap, percentile_interval, resamples_of
from common.metrics import FPRS, auc, balanced_accuracy, checked, interpolated_tpr, resolvable, tpr_at_fpr
from common.seeds import derive_seed

# 2 added the TPR at 1% FPR; what an older version wrote is made again.
FORMAT = 2
DECIDED = "decided "
INTERPOLATED_RESAMPLES = 400


def evaluate(scores, decisions, member, seed, interpolated=False):
    """Everything that is reported of one attack on one set of points, ready for JSON.

    The AUC's interval is from DeLong's variance, those of ACC and TPR from the bootstrap. TPR is at 0.1% FPR (tpr) and
    at 1% FPR (tpr_1); the first is not resolvable with fewer than 1,000 non-members, the second with fewer than 100.

    Args: scores [n]; decisions [n] bool, or None where no shadow gave a threshold; member [n] bool; seed int of the
    bootstrap; interpolated: TPRs as the released protocol reads them off the ROC curve.
    Returns: dict of floats, [low, high] lists, a bool and two counts; all rates are fractions; what needs decisions is
    None without them.
    Raises: CompLeakError as `checked`, or with fewer than two members or non-members.
    """
    scores, member = checked(scores, member)
    decided = decisions is not None
    decisions = np.asarray(decisions).astype(bool) if decided else None
    intervals = bootstrap(scores, member, decisions, seed)
    members = int(member.sum())
    non_members = len(member) - members
    tprs = {}
    for name, fpr in FPRS.items():
        value, interval = tpr_at_fpr(scores, member, fpr), intervals[name]
        if interpolated:
            value, interval = interpolated_tpr(scores, member, fpr), _interpolated_interval(scores, member, fpr, seed)
        tprs |= {name: value, f"{name}_interval": interval}
    return {
        "acc": balanced_accuracy(decisions, member) if decided else None, "acc_interval": intervals["acc"],
        "auc": auc(scores, member), "auc_interval": auc_interval(scores, member), **tprs,
        "tpr_resolvable": resolvable("tpr", non_members),
        "fpr_of_decision": float(decisions[~member].mean()) if decided else None,
        "members": members, "non_members": non_members,
    }


def _interpolated_interval(scores, member, fpr, seed):
    resamples = resamples_of(member, np.random.default_rng(seed), INTERPOLATED_RESAMPLES)
    return percentile_interval([interpolated_tpr(scores[rows], member[rows], fpr) for rows in resamples])


def evaluate_all(results, member, seed, choices=frozenset()):
    """{attack: metrics} of {attack: (scores, decisions)}, the intervals from one seed.

    choices: of the released protocol (models/protocol.py), of which interpolated_tpr matters here.
    """
    bootstrap_seed, interpolated = derive_seed(seed, "bootstrap"), "interpolated_tpr" in choices
    return {name: evaluate(scores, decisions, member, bootstrap_seed, interpolated)
            for name, (scores, decisions) in results.items()}


def as_arrays(results):
    """{attack: (scores, decisions)} as arrays for a scores file: the scores by name, decisions under DECIDED + name."""
    arrays = {name: scores for name, (scores, _) in results.items()}
    return arrays | {DECIDED + name: decisions for name, (_, decisions) in results.items() if decisions is not None}


def load_decided(path, made_by):
    """(index [m], member [m], {attack: (scores, decisions)}) of a scores file, or None where there is none."""
    if not path.exists():
        return None
    arrays, _ = load_scores(path, None, made_by)
    names = [name.removeprefix(DECIDED) for name in arrays if name.startswith(DECIDED)]
    return arrays["index"], arrays["member"], {name: (arrays[name], arrays[DECIDED + name]) for name in names}


def finished(path, inputs):
    """The saved result if it is there and was made from exactly these inputs, else None."""
    if not path.exists():
        return None
    saved = read_json(path, "the command again")
    return saved if saved.get("format") == FORMAT and saved.get("inputs") == inputs else None


def save(path, scores_path, inputs, attacks, arrays):
    """Scores as .npz, then the metrics as JSON: the JSON is there only when both are. Returns the JSON's values."""
    save_arrays(scores_path, {"inputs": inputs}, **arrays)
    result = {"format": FORMAT, "inputs": inputs, "attacks": attacks}
    write_json(path, result)
    return result


def load_scores(path, names, made_by):
    """(arrays, inputs) of a scores file."""
    arrays, meta = load_arrays(path, names, made_by)
    return arrays, meta["inputs"]


def line(name, metrics):
    """One attack in one line, per cent, with 95% intervals for AUC and TPR."""
    low, high = (100 * end for end in metrics["auc_interval"])
    text = f"AUC {100 * metrics['auc']:6.2f}% [{low:.2f}, {high:.2f}]   TPR at 0.1% FPR {tpr(metrics)}"
    if metrics["acc"] is None:
        return f"{name:<20} ACC needs a shadow   {text}"
    return (f"{name:<20} ACC {100 * metrics['acc']:6.2f}%   {text}   "
            f"FPR at threshold {100 * metrics['fpr_of_decision']:.2f}%")


def tpr(metrics):
    """TPR at 0.1% FPR in per cent with its interval, or why there is none."""
    if not metrics["tpr_resolvable"]:
        return f"not resolvable ({metrics['non_members']} non-members)"
    low, high = (100 * end for end in metrics["tpr_interval"])
    return f"{100 * metrics['tpr']:.2f}% [{low:.2f}, {high:.2f}]"


def report(title, attacks):
    """Print a title and one line an attack."""
    print(title)
    for name, metrics in attacks.items():
        print("  " + line(name, metrics))
