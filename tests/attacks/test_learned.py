"""Learned attacks, changes of loss and controls: plain loops, null models, flipped and swapped flags."""
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from attacks import classifiers, equals, learned, learners, mr, mr_network, nr, samia, sr, train_based
from attacks.attack import FITTED, NONE, REFERENCE, Context
from attacks.features import sr_features
from attacks.games import signals_of
from attacks.groups import control_groups
from attacks.inputs import read_version
from common.metrics import auc
from common.paths import ORIGINAL, Version
from models.compression import is_control
from models.run import Run

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
CONTEXT = Context(0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Logistic regression speaks for the kinds, whose own tests are elsewhere; smaller forests."""
    monkeypatch.setattr(classifiers, "TREES", 60)
    monkeypatch.setattr(learned, "learn", partial(learners.learn, kinds=["logistic"]))


def pair_of(layout, version=PRUNED):
    return sr.Pair(read_version(Run(layout), ORIGINAL), read_version(Run(layout), version))


def plain_phi(logits, label):
    others = [np.exp(np.float64(z)) for c, z in enumerate(logits) if c != label]
    return np.float64(logits[label]) - np.log(sum(others))


def plain_signals(attacked):
    """(φ, r) of the target's rows and of the shadows', one row, one class, one reference after the other."""
    found = []
    for player, model in enumerate(attacked.models):
        for point in model.index:
            own, references = None, []
            for other, asked in enumerate(attacked.models):
                at = list(asked.queries.index).index(point)
                phi = plain_phi(asked.queries.logits[at], asked.queries.labels[at])
                if other == player:
                    own = phi
                elif other == 0 or not asked.queries.member[at]:
                    references.append(phi)
            found.append((player > 0, own, sum(references) / len(references)))
    return [np.array([row[1:] for row in found if row[0] == side]) for side in (False, True)]


@pytest.mark.parametrize("shadow_num", [1, 2])
def test_signals_are_those_of_a_plain_double_loop(made_up_run, shadow_num):
    attacked = read_version(Run(made_up_run([], leak=1.0, n=120, shadow_num=shadow_num)), ORIGINAL)
    found, (target, shadows) = signals_of(attacked, 0), plain_signals(attacked)
    np.testing.assert_allclose(np.stack(found.shadows, 1), shadows, atol=1e-9)
    np.testing.assert_allclose(found.target.phi, target[:, 0], atol=1e-9)
    if shadow_num == 1:  # with several shadows a target's point draws as many references as a shadow's point has
        np.testing.assert_allclose(found.target.reference, target[:, 1], atol=1e-9)
    else:
        drawn = np.isclose(found.target.reference, target[:, 1])
        assert 0 < drawn.sum() < len(drawn)


def test_each_learned_attack_is_the_learner_on_plainly_made_features(made_up_run):
    layout = made_up_run([PRUNED, CLUSTERED], leak=1.0, n=150)
    one, two, three = (read_version(Run(layout), version) for version in (ORIGINAL, PRUNED, CLUSTERED))
    sides = [plain_signals(attacked) for attacked in (one, two, three)]
    signals = [signals_of(attacked, 0) for attacked in (one, two, three)]
    with_it, without = (mr.Seen(some, learned.rows_of(one)) for some in (signals, signals[1:]))
    for name, r in ((learned.CONFIDENCE, False), (learned.CALIBRATED, True)):
        for attack, given, read in ((nr.ATTACKS[name], two, [1]), (sr.ATTACKS[name], sr.Pair(one, two), [0, 1]),
                                    (mr.attack_of(f"both, {name} with the original"), with_it, [0, 1, 2]),
                                    (mr.attack_of(f"both, {name} without the original"), without, [1, 2])):
            target, shadow = (np.stack([sides[i][side][:, column] for column in ((0, 1) if r else (0,))
                                        for i in read], axis=1) for side in (0, 1))
            plain = classifiers.fit_logistic(shadow, one.shadows[0].member).score(target)
            scored = attack.run(given, CONTEXT)
            np.testing.assert_allclose(scored.scores, plain, atol=1e-6)
            np.testing.assert_array_equal(scored.decisions, scored.scores > 0.5)
            assert len(scored.on_shadow) == len(shadow) and scored.notes["kind"] == "logistic"
            assert scored.notes["areas"]["logistic"] == auc(scored.on_shadow, one.shadows[0].member)


def test_change_of_loss_and_features_of_one_model_twice_are_their_formulas(made_up_run):
    pair = pair_of(made_up_run([PRUNED], leak=1.0, n=300))
    loss = [[-np.log(p[y]) for p, y in zip(one.target.posteriors, one.target.labels, strict=True)] for one in pair]
    np.testing.assert_allclose(sr.ATTACKS["difference"].run(pair, CONTEXT).scores, np.subtract(loss[1], loss[0]),
                               atol=1e-9)
    np.testing.assert_allclose(sr.ATTACKS["ratio"].run(pair, CONTEXT).scores,
                               (np.array(loss[1]) + 5e-4) / (np.array(loss[0]) + 5e-4))
    shadow, target = pair.compressed.shadows[0], pair.compressed.target
    features = [sr_features(model.logits, model.logits, model.labels, True) for model in (shadow, target)]
    forest = classifiers.FITS["RF"](CONTEXT.seed)(features[0], shadow.member)
    scored = nr.ATTACKS[train_based.AGGREGATED_TWICE].run(pair.compressed, CONTEXT)
    np.testing.assert_array_equal(scored.scores, forest.score(features[1]))
    assert scored.in_sample is not None and auc(scored.on_shadow, shadow.member) > 0.6


def flipped(attacked):
    """The same answers, and the target's flags the other way, wherever they lie."""
    queries = replace(attacked.target.queries, member=~attacked.target.queries.member)
    return replace(attacked, target=replace(attacked.target, member=~attacked.target.member, queries=queries))


@pytest.mark.parametrize("shadow_num", [1, 2])
def test_the_targets_flags_change_no_score_decision_or_note(made_up_run, shadow_num, monkeypatch):
    monkeypatch.setattr(samia, "train_samia", partial(samia.train_samia, epochs=1))
    pair = pair_of(made_up_run([PRUNED], leak=1.0, n=400, shadow_num=shadow_num))
    other = sr.Pair(*map(flipped, pair))
    of_nr, of_sr = nr.possible(pair.original)[0], sr.possible(pair)[0]
    for attack, given, turned in (*((one, pair.original, other.original) for one in of_nr.values()),
                                  *((one, pair, other) for one in of_sr.values())):
        first, second = attack.run(given, CONTEXT), attack.run(turned, CONTEXT)
        for one, two in zip(first[:-1], second[:-1], strict=True):
            assert (one is None) == (two is None), attack.name
            assert one is None or np.array_equal(one, two), attack.name
        assert first.notes == second.notes


def test_mr_reads_no_flag_of_the_target(made_up_run, monkeypatch):
    monkeypatch.setattr(mr_network, "train_multi", partial(mr_network.train_multi, epochs=60))
    layout = made_up_run([PRUNED, CLUSTERED], leak=1.0, n=1200)
    run = Run(layout)
    for version in (PRUNED, CLUSTERED):
        sr.attack_version(run, version, CONTEXT, ["SR2 (RF)"])
    nr.attack_version(run, ORIGINAL, CONTEXT, [train_based.AGGREGATED_TWICE])
    seen = {}
    monkeypatch.setattr(mr.Results, "complete", lambda self, jobs, *rest, **more: seen.update(jobs) or {})
    monkeypatch.setattr(nr, "attack_version", lambda *args, **more: None)
    mr.attack_groups(run, CONTEXT, {"both": [PRUNED, CLUSTERED]})
    assert [name.removeprefix("both, ") for name in seen] == [
        row for row in mr.ROWS if row in mr.COLUMNS or mr.EQUALS[row][0] not in equals.SEVERAL]
    for name, (attack, _, given) in seen.items():
        first = attack.run(given, CONTEXT)
        if isinstance(given, mr.Group):
            second = attack.run(replace(given, member=~given.member), CONTEXT)
            assert np.array_equal(first.scores, second.scores), name
        member = given.shadow_member if isinstance(given, mr.Group) else given.rows.member
        if name.endswith(mr.REPEATED):  # a control, which no attacker chooses
            assert first.on_shadow is None
        else:
            assert first.on_shadow.shape == member.shape and auc(first.on_shadow, member) > 0.6, name
    repeated = seen["both, original repeated"][2]
    assert (repeated.target_losses[:, 0] == repeated.target_losses[:, 1]).all()


def test_swapped_labels_on_the_shadow_mirror_every_learned_score(made_up_run):
    pair = pair_of(made_up_run([PRUNED], leak=1.0, n=600))

    def swapped(attacked):
        return replace(attacked, shadows=tuple(replace(shadow, member=~shadow.member) for shadow in attacked.shadows))

    for attack, given, turned in ((nr.ATTACKS["confidence"], pair.compressed, swapped(pair.compressed)),
                                  (nr.ATTACKS["calibrated"], pair.compressed, swapped(pair.compressed)),
                                  (sr.ATTACKS["calibrated"], pair, sr.Pair(*map(swapped, pair)))):
        first, second = attack.run(given, CONTEXT), attack.run(turned, CONTEXT)
        np.testing.assert_allclose(second.scores, 1 - first.scores, atol=1e-6)
        np.testing.assert_allclose(second.on_shadow, 1 - first.on_shadow, atol=1e-6)


def test_every_attack_says_what_it_knows():
    known = {name: attack.knowledge for name, attack in nr.ATTACKS.items()}
    assert {name for name in known if known[name] == NONE} == {"metric_based_1", "metric_based_2", "loss_threshold",
                                                               "correctness"}
    assert {name for name in known if known[name] == REFERENCE} == {"RMIA", "RMIA (population)", "calibrated",
                                                                    "calibrated_all", "LiRA_offline",
                                                                    "LiRA_offline (pooled)", "LiRA_online",
                                                                    "LiRA_online (pooled)", "LiRA_online (global)",
                                                                    "LiRA_online (Bayes)"}
    assert {name: attack.knowledge for name, attack in sr.ATTACKS.items() if attack.knowledge != FITTED} == {
        "difference": NONE, "ratio": NONE, "calibrated": REFERENCE, "calibrated_all": REFERENCE,
        "joint_LiRA_offline": REFERENCE, "joint_LiRA_online": REFERENCE,
        "joint_LiRA_online (Bayes)": REFERENCE}
    assert {row: mr.attack_of(f"pruned four, {row}").knowledge for row in mr.ROWS} == {
        row: REFERENCE if row.startswith(("calibrated", "joint")) else FITTED for row in mr.ROWS}


def test_rmia_on_the_shadow_is_the_mirrored_game(made_up_run):
    attacked = read_version(Run(made_up_run([], leak=1.0, n=600)), ORIGINAL)
    scored = nr.ATTACKS["RMIA"].run(attacked, CONTEXT)
    turned = replace(attacked, target=attacked.shadows[0], shadows=(attacked.target,))
    # With one shadow the target is the shadow's only reference, as the shadow is the target's.
    assert np.array_equal(scored.on_shadow, nr.ATTACKS["RMIA"].run(turned, CONTEXT).scores)


def test_controls_make_groups_of_as_many_versions_and_are_told_from_compressed_ones():
    tuned = [Version("pruning", f"{number}e-07") for number in range(1, 5)]
    groups = control_groups({"pruned four": [PRUNED] * 4, "all eight": [PRUNED] * 8}, [ORIGINAL, PRUNED, *tuned])
    assert groups == {"fine-tuned four": tuned}
    assert control_groups({"clustered three": [PRUNED] * 3}, tuned) == {"fine-tuned three": tuned[:3],
                                                                           "fine-tuned four": tuned}
    assert control_groups({"pruned four": [PRUNED] * 4}, [PRUNED]) == {}
    assert [is_control(version) for version in (ORIGINAL, PRUNED, tuned[0])] == [False, False, True]


def test_one_shadows_rows_of_equal_answers_are_one_picture_to_the_learner(made_up_run):
    layout = made_up_run([], leak=1.0, n=120)
    attacked = read_version(Run(layout), ORIGINAL)
    assert learned.rows_of(attacked).twins is None
    shadow = attacked.shadows[0]
    shadow.logits[7], shadow.labels[7] = shadow.logits[3], shadow.labels[3]
    twins = learned.rows_of(attacked).twins
    assert twins[7] == twins[3] and len(np.unique(twins)) == len(twins) - 1
