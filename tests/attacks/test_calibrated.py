"""confidence and calibrated: the whole way from logits of several worlds to scores on the target."""

import numpy as np
import pytest

from attacks import classifiers, mr, nr, sr
from attacks.attack import Context
from attacks.games import Side
from attacks.learned import CALIBRATED, CONFIDENCE, features
from attacks.learners import Rows, learn
from attacks.signals import draw_references, label_gap, out_references, reference_mean
from common.metrics import auc


def worlds(leak=1.2, points=900, versions=3, shadows=2, seed=0):
    """Logits [w][version] of [n,c] on each world's points, and who trained on what: target first, disjoint pools.

    The difficulty of a point is common to all models, a member's logit is higher by `leak`.
    """
    rng, made = np.random.default_rng(seed), []
    attacker = rng.random((points, 1 + shadows)) < 0.5  # one pool for all shadows, as splits make it
    attacker[:, 0] = False
    common = rng.normal(1, 2, points)
    for player in range(1 + shadows):
        own = player == 0
        trained = np.zeros((points, 1 + shadows), bool) if own else attacker
        trained[:, 0] = own & (rng.random(points) < 0.5)
        hard, labels = rng.normal(1, 2, points) if own else common, rng.integers(4, size=points)
        logits = rng.normal(0, 0.7, (1 + shadows, versions, points, 4))
        logits[:, :, np.arange(points), labels] += hard + leak * trained.T[:, None]
        made.append((player, logits, labels, trained))
    return made


def signals(world, drawn_like=None, flip=False):
    """[Side of each version] for one world's player, and how many references each point had."""
    player, logits, labels, trained = world
    if flip:
        trained = trained.copy()
        trained[:, 0] ^= True
    usable = out_references(trained, player, disjoint=True)
    if drawn_like is not None:
        usable = draw_references(usable, drawn_like, seed=9)
    gaps = np.array([[label_gap(rows, labels) for rows in of_world] for of_world in logits])
    return [Side(gaps[player, version], reference_mean(gaps[:, version].T, usable))
            for version in range(gaps.shape[1])], usable.sum(1)


def attack(made, kinds, flip=False, swap=False, drawn=True):
    """{(attack, setting): Learned} on the target, fitted on all shadows; the target's flags go in only if flipped."""
    target, *shadows = made
    games = [signals(world, flip=flip) for world in shadows]
    counts = np.concatenate([count for _, count in games])
    own, _ = signals(target, counts if drawn else None, flip=flip)
    member = np.concatenate([trained[:, player] for player, _, _, trained in shadows]) ^ swap
    groups = np.repeat(np.arange(len(shadows)), [len(labels) for _, _, labels, _ in shadows])

    found = {}
    for name, setting, seen in ((CALIBRATED, "NR", [0]), (CONFIDENCE, "NR", [0]), (CALIBRATED, "SR", [0, 1]),
                                (CALIBRATED, "MR", [0, 1, 2])):
        shadow = np.concatenate([features(name, [sides[version] for version in seen]) for sides, _ in games])
        found[name, setting] = learn(shadow, Rows(member, groups),
                                     features(name, [own[version] for version in seen]), 0, kinds)
    return found


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 20)


def test_flipping_the_targets_members_changes_no_score():
    made = worlds(points=300)
    found, flipped = attack(made, ["logistic", "forest"]), attack(made, ["logistic", "forest"], flip=True)
    for key in found:
        np.testing.assert_array_equal(found[key].target, flipped[key].target)
        np.testing.assert_array_equal(found[key].shadow, flipped[key].shadow)


def test_references_and_versions_help_and_the_shadow_says_so():
    made = worlds(points=1500)
    member = made[0][3][:, 0]
    found = attack(made, ["logistic"])
    areas = {key: auc(learned.target, member) for key, learned in found.items()}
    shadow = {key: learned.areas["logistic"] for key, learned in found.items()}
    for of in (areas, shadow):
        assert of["confidence", "NR"] + 0.05 < of["calibrated", "NR"] < of["calibrated", "SR"] < of["calibrated", "MR"]
    assert areas["calibrated", "MR"] == pytest.approx(shadow["calibrated", "MR"], abs=0.05)


def test_all_references_and_drawn_ones_give_two_rows():
    made = worlds(points=1500)
    member = made[0][3][:, 0]
    drawn, every = attack(made, ["logistic"]), attack(made, ["logistic"], drawn=False)
    key = "calibrated", "NR"
    np.testing.assert_array_equal(drawn[key].shadow, every[key].shadow)
    assert (drawn[key].target != every[key].target).any()
    assert auc(every[key].target, member) == pytest.approx(auc(drawn[key].target, member), abs=0.05)


def test_null_models_give_a_half_and_swapped_labels_mirror_the_roc():
    made = worlds(leak=0.0, points=1500)
    for learned in attack(made, ["logistic"]).values():
        assert auc(learned.target, made[0][3][:, 0]) == pytest.approx(0.5, abs=0.05)
    made = worlds()
    member = made[0][3][:, 0]
    found, swapped = attack(made, ["logistic"]), attack(made, ["logistic"], swap=True)
    for key in found:
        assert auc(swapped[key].target, member) == pytest.approx(1 - auc(found[key].target, member), abs=1e-4)


def test_results_of_an_earlier_definition_are_out_of_date():
    """`calibrated` once drew fewer references in shared pools; what it had found then must not count as current."""
    redefined = nr.ATTACKS["calibrated"], sr.ATTACKS["calibrated"], mr.attack_of("all, calibrated with the original")
    for attack in redefined:
        assert attack.inputs({}, Context(0))["edition"] == 2
    others = nr.ATTACKS["calibrated_all"], nr.ATTACKS["RMIA"], mr.attack_of("all, confidence with the original")
    for attack in others:
        assert "edition" not in attack.inputs({}, Context(0))
