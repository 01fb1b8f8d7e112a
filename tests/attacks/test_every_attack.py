"""Every attack that is entered: a plain loop gives its scores, null models a coin's AUC, swapped labels the mirror.

An attack entered in NR, SR or MR is found here by itself; only its plain loop has to be written, in PLAIN. Those that
need several references are in test_lira_game.py.
"""
from dataclasses import replace
from functools import cache, partial
from math import exp, log
from types import SimpleNamespace

import numpy as np
import pytest

from attacks import classifiers, equals, learned, learners, mr, mr_network, nr, samia, sr, train_based
from attacks.attack import FITTED, NONE, REFERENCE, Context
from attacks.inputs import read_version
from attacks.views import read_views
from common.metrics import auc
from common.paths import ORIGINAL, Version
from common.seeds import derive_seed
from models.run import Run

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
CONTEXT = Context(1)
ENTRIES = [*(("NR", name) for name in nr.ATTACKS), *(("SR", name) for name in sr.ATTACKS),
           *(("MR", row) for row in (*mr.ROWS, *mr.ON_VIEWS))]
ENTRIES = [(setting, name) for setting, name in ENTRIES if name.split(" ")[0] not in {
    one.split(" ")[0] for one in equals.SEVERAL}]
Z_999 = 3.29
# What cannot see this leak: a sum over classes not which posterior is the label's, a change of loss not what both have.
BLIND = {("NR", "train_based_1 (LR)"), ("NR", "train_based_2 (LR)"), ("SR", "difference"), ("SR", "ratio")}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Fewer trees and epochs: what is tested here holds for any number of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "TREES", 40)
        patch.setattr(samia, "train_samia", partial(samia.train_samia, epochs=10))
        patch.setattr(mr_network, "train_multi", partial(mr_network.train_multi, epochs=30))
        yield


def everything(layout):
    """{entry: (Attack, what it sees)} on a made-up run of three versions with two views of the original."""
    run, given = Run(layout), {}
    pair = sr.Pair(read_version(run, ORIGINAL), read_version(run, PRUNED))
    for version in (PRUNED, CLUSTERED):
        sr.attack_version(run, version, CONTEXT, [sr.AGGREGATED])
    nr.attack_version(run, ORIGINAL, CONTEXT, [train_based.AGGREGATED_TWICE])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nr, "attack_version", lambda *args, **more: None)
        patch.setattr(mr.Results, "complete", lambda self, jobs, *args, **more: given.update(jobs) or {})
        mr.attack_groups(run, CONTEXT, {"both": [PRUNED, CLUSTERED]})
    several = {("MR", name.removeprefix("both, ")): (attack, seen) for name, (attack, _, seen) in given.items()}
    return {**{("NR", name): (attack, pair.original) for name, attack in nr.possible(pair.original)[0].items()},
            **{("SR", name): (attack, pair) for name, attack in sr.possible(pair)[0].items()}, **several}


@pytest.fixture(scope="module")
def known(tmp_path_factory, made_up):
    """known(leak, rows) → such a run, all on it, the target's members, scored(entry, swap) → Scored; each made once."""

    @cache
    def make(leak, n):
        layout = made_up.run(tmp_path_factory.mktemp("run"), [PRUNED, CLUSTERED], leak=leak, n=n, seed=1)
        made_up.views(layout)
        found = everything(layout)

        @cache
        def scored(entry, swap=False):
            attack, seen = found[entry]
            if isinstance(seen, mr.Group):  # what it gives the shadow's rows is another test's, and costs two networks
                seen = replace(seen, candidate=False)
            return attack.run(swapped(seen) if swap else seen, CONTEXT)

        return SimpleNamespace(run=Run(layout), found=found, member=found["NR", "RMIA"][1].target.member, scored=scored)

    return make


def swapped(seen):
    """The same with members and non-members of the shadows exchanged."""
    if isinstance(seen, sr.Pair):
        return sr.Pair(*map(swapped, seen))
    if isinstance(seen, mr.Group):
        return replace(seen, shadow_member=~seen.shadow_member)
    if isinstance(seen, mr.Seen):
        return seen._replace(rows=seen.rows._replace(member=~seen.rows.member))
    return replace(seen, shadows=tuple(map(turned, seen.shadows)))


def turned(shadow):
    """A shadow's Answers with the flags of its scored rows turned round."""
    member = shadow.queries.member ^ np.isin(shadow.queries.index, shadow.index)
    return replace(shadow, member=~shadow.member, queries=replace(shadow.queries, member=member))


@pytest.mark.parametrize("entry", ENTRIES, ids=", ".join)
def test_models_that_know_nothing_give_a_coins_auc(known, entry):
    one = known(0.0, 2000)
    inside, outside = int(one.member.sum()), int((~one.member).sum())
    # Half the 99.9% interval of the AUC of a score that knows nothing (Mann-Whitney's variance without ties).
    bound = Z_999 * np.sqrt((inside + outside + 1) / (12 * inside * outside))
    assert abs(auc(one.scored(entry).scores, one.member) - 0.5) < bound


@pytest.mark.parametrize("entry", ENTRIES, ids=", ".join)
def test_models_that_leak_are_caught(known, entry):
    one = known(2.0, 1600)
    found = one.scored(entry)
    assert found.scores.dtype == np.float64 and found.decisions.shape == one.member.shape
    assert found.decisions.dtype == bool
    if entry not in BLIND:
        assert auc(found.scores, one.member) > 0.6


@pytest.mark.parametrize("entry", ENTRIES, ids=", ".join)
def test_swapped_labels_of_the_shadow_mirror_what_is_fitted_and_leave_the_rest(known, entry):
    one = known(2.0, 1600)
    knowledge = one.found[entry][0].knowledge
    before, after = (auc(one.scored(entry, swap).scores, one.member) for swap in (False, True))
    fitted = knowledge == FITTED or learned.CALIBRATED in entry[1]
    # SAMIA's two outputs begin differently, so ten epochs with swapped labels are another training.
    assert after == pytest.approx(1 - before if fitted else before, abs=0.12 if entry == ("NR", "SAMIA") else 0.04)
    if knowledge == NONE:
        assert np.array_equal(one.scored(entry).scores, one.scored(entry, True).scores)


def test_every_attack_is_told_from_the_shadow_alone_what_it_may_know(known):
    found = known(2.0, 1600).found
    assert all(attack.knowledge in (NONE, FITTED, REFERENCE) for attack, _ in found.values())
    assert {entry for entry in found if found[entry][0].knowledge == REFERENCE} == {
        entry for entry in ENTRIES if entry[1].startswith(("RMIA", "calibrated"))}
    assert {entry for entry in found if found[entry][0].knowledge == NONE} == {
        *(("NR", name) for name in ("metric_based_1", "metric_based_2", "loss_threshold", "correctness")),
        ("SR", "difference"), ("SR", "ratio")}


# Plain loops: one row, one class, one model after the other.

def posteriors(logits):
    powers = [exp(float(z) - float(max(logits))) for z in logits]
    return [power / sum(powers) for power in powers]


def gap(logits, label):
    return float(logits[label]) - log(sum(exp(float(z)) for c, z in enumerate(logits) if c != label))


def one_hot(label, classes=10):
    return [float(c == label) for c in range(classes)]


def side_by_side(one, other, label, labelled):
    order = sorted(range(len(one)), key=lambda c: -one[c])
    blocks = [posteriors(one), posteriors(other), *([one_hot(label)] if labelled else [])]
    return [block[c] for block in blocks for c in order]


def each(score):
    """Scores of the target's rows. score: (logits of each version, label) → a number."""
    return lambda seen: [score([one.target.logits[i] for one in versions(seen)], label)
                         for i, label in enumerate(versions(seen)[0].target.labels)]


def versions(seen):
    return list(seen) if isinstance(seen, sr.Pair) else [seen]


def classified(kind, features):
    """The same from a classifier. features: (logits of each version, label) → a row."""

    def scores(seen):
        sides = [[features([of[side].logits[i] for of in models], label) for i, label in
                  enumerate(models[0][side].labels)] for side in (0, 1)
                 for models in [[(one.target, one.shadows[0]) for one in versions(seen)]]]
        fit = classifiers.FITS[kind](CONTEXT.seed)
        return fit(np.array(sides[1]), versions(seen)[0].shadows[0].member).score(np.array(sides[0]))

    return scores


def asked(attacked, world, point):
    """(logits, label) of one picture under the target (0) or the shadow (1)."""
    queries = attacked.models[world].queries
    at = list(queries.index).index(point)
    return queries.logits[at], queries.labels[at]


def likelier(attacked, point, a=0.5):
    """ln of the likelihood of the label under the target over its mean with and without the point."""
    p, reference = (posteriors(logits)[label] for logits, label in (asked(attacked, world, point) for world in (0, 1)))
    return log(p / (((1 + a) * reference + (1 - a)) / 2))


def dominated(attacked):
    shadow = attacked.shadows[0]
    bars = [likelier(attacked, z) for z in shadow.index[~shadow.member]]
    return [sum(likelier(attacked, x) > bar for bar in bars) / len(bars) for x in attacked.target.index]


def self_attention(attacked):
    rows = [[(posteriors(z), s, y) for z, s, y in zip(model.logits, model.sensitivity, model.labels, strict=True)]
            for model in attacked.models]
    target, shadow = ([np.array(part) for part in zip(*side, strict=True)] for side in rows)
    network = samia.train_samia(*shadow, attacked.shadows[0].member, derive_seed(CONTEXT.seed, "SAMIA"), "cpu")
    return samia.samia_score(network, *target)


def learnt(of_group, reference):
    """Logistic regression, which speaks for the learner here, on φ of versions and on what the other model says."""

    def scores(seen):
        group = of_group(seen)
        target, shadow = ([[gap(*asked(one, (side + 1) % 2 if other else side, point))
                            for other in ((False, True) if reference else (False,)) for one in group]
                           for point in group[0].models[side].index] for side in (0, 1))
        return classifiers.fit_logistic(np.array(shadow), group[0].shadows[0].member).score(np.array(target))

    return scores


def joined(group):
    k = range(len(group.scored))
    on_shadow, scored = ([[getattr(group.scored[j], part)[i] for j in k] for i in range(len(flags))]
                         for part, flags in (("on_shadow", group.shadow_member), ("scores", group.member)))
    seed = derive_seed(CONTEXT.seed, "MR", *group.name.rsplit(", ", 1))
    network = mr_network.train_multi(on_shadow, group.shadow_losses, group.shadow_member, seed, "cpu")
    return mr_network.multi_score(network, scored, group.target_losses)


def loss(logits, label):
    return -log(posteriors(logits)[label])


PLAIN = {
    ("NR", "SAMIA"): self_attention,
    ("NR", "metric_based_1"): each(lambda z, y: sum(p * log(p) for p in posteriors(z[0]))),
    ("NR", "metric_based_2"): each(lambda z, y: sum((1 - p) * log(p) if c == y else p * log(1 - p)
                                                    for c, p in enumerate(posteriors(z[0])))),
    ("NR", "loss_threshold"): each(lambda z, y: -loss(z[0], y)),
    ("NR", "correctness"): each(lambda z, y: float(max(z[0]) == z[0][y])),
    ("NR", "RMIA"): lambda seen: [likelier(seen, point) for point in seen.target.index],
    ("NR", "RMIA (population)"): dominated,
    ("SR", "difference"): each(lambda z, y: loss(z[1], y) - loss(z[0], y)),
    ("SR", "ratio"): each(lambda z, y: (loss(z[1], y) + 5e-4) / (loss(z[0], y) + 5e-4)),
    **{("MR", row): joined for row in mr.COLUMNS},
}
for _kind in classifiers.FITS:
    PLAIN["NR", f"train_based_1 ({_kind})"] = classified(_kind, lambda z, y: posteriors(z[0]))
    PLAIN["NR", f"train_based_2 ({_kind})"] = classified(_kind, lambda z, y: posteriors(z[0]) + one_hot(y))
    for _number in (1, 2):
        PLAIN["NR", f"SR{_number}_twice ({_kind})"] = classified(
            _kind, lambda z, y, labelled=_number == 2: side_by_side(z[0], z[0], y, labelled))
        PLAIN["SR", f"SR{_number} ({_kind})"] = classified(
            _kind, lambda z, y, labelled=_number == 2: side_by_side(z[0], z[1], y, labelled))
for _name in (learned.CONFIDENCE, learned.CALIBRATED):
    _known = _name == learned.CALIBRATED
    PLAIN["NR", _name], PLAIN["SR", _name] = learnt(versions, _known), learnt(versions, _known)
    for _row in ("with the original", "without the original", "on views"):
        PLAIN["MR", f"{_name} {_row}"] = learnt(list, _known)  # of the versions: what it sees holds φ alone


@pytest.mark.parametrize("entry", ENTRIES, ids=", ".join)
def test_scores_are_those_of_a_plain_loop(known, entry, monkeypatch):
    monkeypatch.setattr(learned, "learn", partial(learners.learn, kinds=["logistic"]))
    one = known(1.0, 300)
    assert entry in PLAIN, "write a plain loop for it"
    plain, (attack, seen) = PLAIN[entry], one.found[entry]
    if isinstance(seen, mr.Group):
        seen = replace(seen, candidate=False)
    given = models_of(one.run, entry[1].split(" ", 1)[1]) if isinstance(seen, mr.Seen) else seen
    np.testing.assert_allclose(attack.run(seen, CONTEXT).scores, plain(given), rtol=1e-6, atol=1e-6)


def models_of(run, row):
    """The Attacked versions, or views of the original, that a learned row of MR is told of."""
    original, *compressed = (read_version(run, version) for version in (ORIGINAL, PRUNED, CLUSTERED))
    return {mr.WITH: [original, *compressed], mr.WITHOUT: compressed,
            "on views": [original, *read_views(run, original)]}[row]
