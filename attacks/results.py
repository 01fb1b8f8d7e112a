"""What is kept of attacks: each one's metrics and what it was made from as JSON, its scores beside it as arrays."""
import numpy as np

from attacks.attack import Scored, digest_of
from common.errors import CompLeakError, FileError
from common.files import load_arrays, read_json, save_arrays, write_json
from common.intervals import auc_interval, bootstrap, percentile_interval, resamples_of
from common.metrics import FPRS, auc, balanced_accuracy, checked, resolvable, tpr_at_fpr
from common.provenance import holds
from common.seeds import derive_seed
from models import hints

FORMAT = 4  # earlier ones lack the shadows' members and some scores on their rows; what they hold is made again
SHADOW_MEMBER = "shadow member"
PARTS = {"scores": "", "decisions": "decided ", "on_shadow": "on shadow ", "in_sample": "in sample "}
RELEASED_RESAMPLES = 400


class Results:
    """The results of one setting on one version: NR.json, SR.json or MR.json, and the scores beside it."""

    def __init__(self, run, version, setting):
        self.run, self.version, self.setting = run, version, setting
        self.path = run.layout.result(version, f"{setting}.json")
        self.scores_path = run.layout.result(version, f"{setting}_scores.npz")

    def command(self):
        """The command that makes them."""
        if self.setting == "MR":
            return hints.module(self.run.layout, "attacks.mr")
        return hints.attacks(self.run.layout, self.setting, [self.version])

    def saved(self):
        """{attack: metrics} of the JSON file with its other values, or None where there is none of this format."""
        if not self.path.exists():
            return None
        with hints.mending(self.command):
            values = read_json(self.path)
        return values if values.get("format") == FORMAT else None

    def current(self, expected):
        """The saved values with those attacks that hold, or None; expected: {attack: what it would be made from}.

        Options are not compared: who reads does not choose them.
        """
        values = self.saved()
        if values is None or not self.scores_path.exists():
            return None
        kept = {name: metrics for name, metrics in values["attacks"].items()
                if name in expected and holds(metrics["inputs"], expected[name], apart=("options",))}
        return {**values, "attacks": kept} if kept else None

    def complete(self, jobs, target, context, names=None, also=None, keep=None,
                 shadow_member=None):
        """Run what is not there or no longer holds, save everything, and give the JSON's values.

        jobs: {attack: (Attack, what it is made from, what it sees)} of everything that can be run; names: those to run,
        default all (of the others what holds is kept). target: Answers whose rows are scored. also: further values.
        keep: {attack: what it would be made from} of others that stay as long as they hold. shadow_member [Σm] bool:
        of the shadows' scored rows, one shadow after the other, None without a shadow.
        """
        saved, arrays = self._kept()
        metrics, scored, failed = {}, {}, None
        for name, (attack, made_from, seen) in jobs.items():
            inputs, wanted = attack.inputs(made_from, context), names is None or name in names
            if name in saved and holds(saved[name]["inputs"], inputs, apart=() if wanted else ("options",)):
                metrics[name], scored[name] = saved[name], arrays[name]
            elif wanted:
                try:
                    scored[name] = attack.run(seen, context)
                    metrics[name] = {**judged(scored[name], target.member, context, attack), "inputs": inputs}
                except CompLeakError as error:  # one that cannot be computed takes no other with it
                    scored.pop(name, None)
                    failed = error
                    print(f"{name} is left out: {error}")
        if not metrics and failed:
            raise failed
        for name, inputs in (keep or {}).items():
            if name not in jobs and name in saved and holds(saved[name]["inputs"], inputs, apart=("options",)):
                metrics[name], scored[name] = saved[name], arrays[name]
        values = {"format": FORMAT, "setting": self.setting, "version": str(self.version), **(also or {}),
                  "attacks": metrics}
        if any(metrics[name] is not saved.get(name) for name in metrics) or saved.keys() != metrics.keys():
            known = {} if shadow_member is None else {SHADOW_MEMBER: shadow_member}
            save_arrays(self.scores_path, {"setting": self.setting}, index=target.index, member=target.member,
                        **known, **as_arrays(scored))
            write_json(self.path, values)
        return values

    def _kept(self):
        """({attack: metrics}, {attack: Scored}) of saved results whose scores are those that were judged."""
        values = self.saved() or {"attacks": {}}
        try:
            arrays, _ = load_arrays(self.scores_path)
        except FileError:
            return {}, {}
        scored = {name: scored_of(arrays, name) for name in values["attacks"] if name in arrays}
        return {name: values["attacks"][name] for name, one in scored.items()
                if digest_of(one) == values["attacks"][name]["digest"]}, scored

    def scored(self, names):
        """(index [m], member [m], {attack: Scored}) of saved attacks; CompLeakError where they are not those judged."""
        with hints.mending(self.command):
            arrays, _ = load_arrays(self.scores_path)
            known = (self.saved() or {"attacks": {}})["attacks"]
            found = {name: scored_of(arrays, name) for name in names if name in arrays}
            for name in names:
                if name not in found or digest_of(found[name]) != known.get(name, {}).get("digest"):
                    raise FileError(self.scores_path, f"was not made together with {self.path.name}",
                                    f"delete {self.path.name} and ")
        return arrays["index"], arrays["member"], found

    def shadow_member(self):
        """Membership [Σm] bool of the shadows' scored rows, one shadow after the other; None without a shadow."""
        with hints.mending(self.command):
            arrays, _ = load_arrays(self.scores_path)
        return arrays.get(SHADOW_MEMBER)


def as_arrays(scored):
    """{attack: Scored} as arrays by name for a scores file; a part that is None is left out."""
    return {prefix + name: np.asarray(getattr(one, part)) for name, one in scored.items()
            for part, prefix in PARTS.items() if getattr(one, part) is not None}


def scored_of(arrays, name):
    """The Scored of one attack that `as_arrays` laid out."""
    return Scored(**{part: arrays.get(prefix + name) for part, prefix in PARTS.items()})


def judged(scored, member, context, attack):
    """What the JSON file says of an Attack's Scored, but for what it was made from."""
    rates = evaluate(scored.scores, scored.decisions, member, derive_seed(context.seed, "bootstrap"),
                     attack.released_tpr if "interpolated_tpr" in context.choices else None)
    return {**rates, "digest": digest_of(scored), **({"notes": scored.notes} if scored.notes else {})}


def evaluate(scores, decisions, member, seed, released_tpr=None):
    """Everything that is reported of one attack on one set of points, ready for JSON.

    The AUC's interval is from DeLong's variance, those of ACC and TPR from the bootstrap. TPR is at 0.1% FPR (tpr) and
    at 1% FPR (tpr_1); the first is not resolvable with fewer than 1,000 non-members, the second with fewer than 100.

    scores [n]; decisions [n] bool, or None where no shadow gave a threshold; member [n] bool; seed of the bootstrap;
    released_tpr: (scores, member, fpr) → the TPR as the released protocol reads it, None to read it soundly. Rates are
    fractions; what needs decisions is None without them. CompLeakError as `checked`, or with fewer than two members or
    non-members.
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
        if released_tpr:
            resamples = resamples_of(member, np.random.default_rng(seed), RELEASED_RESAMPLES)
            value, interval = released_tpr(scores, member, fpr), percentile_interval(
                [released_tpr(scores[rows], member[rows], fpr) for rows in resamples])
        tprs |= {name: value, f"{name}_interval": interval}
    return {
        "acc": balanced_accuracy(decisions, member) if decided else None, "acc_interval": intervals["acc"],
        "auc": auc(scores, member), "auc_interval": auc_interval(scores, member), **tprs,
        "tpr_resolvable": resolvable("tpr", non_members),
        "fpr_of_decision": float(decisions[~member].mean()) if decided else None,
        "members": members, "non_members": non_members,
    }


# What is printed.

def line(name, metrics, width=20):
    """One attack in one line, per cent, with 95% intervals for AUC and TPR; width: characters for the name."""
    low, high = (100 * end for end in metrics["auc_interval"])
    text = f"AUC {100 * metrics['auc']:6.2f}% [{low:.2f}, {high:.2f}]   TPR at 0.1% FPR {tpr(metrics)}"
    if metrics["acc"] is None:
        return f"{name:<{width}} ACC needs a shadow   {text}"
    return (f"{name:<{width}} ACC {100 * metrics['acc']:6.2f}%   {text}   "
            f"FPR at threshold {100 * metrics['fpr_of_decision']:.2f}%")


def tpr(metrics):
    """TPR at 0.1% FPR in per cent with its interval, or why there is none."""
    if not metrics["tpr_resolvable"]:
        return f"not resolvable ({metrics['non_members']} non-members)"
    low, high = (100 * end for end in metrics["tpr_interval"])
    return f"{100 * metrics['tpr']:.2f}% [{low:.2f}, {high:.2f}]"


def report(title, attacks, run):
    """Print a title, with protocol and pools where they are not the usual ones, and one line an attack."""
    print(f"{title}{run.settings.unusual}")
    for name, metrics in attacks.items():
        print("  " + line(name, metrics, max(20, *map(len, attacks))))
