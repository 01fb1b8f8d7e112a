"""Result files and what is printed of them: attacks' scores and metrics, saved beside the target they score."""
from attacks.metrics import evaluate
from data.splits import derive_seed
from models.checkpoint import read_json, write_json
from models.query import load_arrays, save_arrays

FORMAT = 1


def evaluate_all(results, member, seed):
    """{attack: metrics} of {attack: (scores, decisions)}, the intervals from one seed."""
    bootstrap_seed = derive_seed(seed, "bootstrap")
    return {name: evaluate(scores, decisions, member, bootstrap_seed) for name, (scores, decisions) in results.items()}


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
    text = (f"{name:<20} ACC {100 * metrics['acc']:6.2f}%   AUC {100 * metrics['auc']:6.2f}% [{low:.2f}, {high:.2f}]   "
            f"TPR at 0.1% FPR {tpr(metrics)}   FPR at threshold {100 * metrics['fpr_of_decision']:.2f}%")
    return text


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
