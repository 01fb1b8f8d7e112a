"""attacks/learners.py: folds, kinds, and scores against plain refits."""

import numpy as np
import pytest
from scipy.special import expit

from attacks import classifiers, learners
from attacks.batched_networks import Job, train_and_score
from attacks.learners import KINDS, NETS, Learned, Rows, fold_of_rows, learn
from common.errors import CompLeakError
from common.metrics import auc
from common.seeds import derive_seed


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 40)


def drawn(n=300, d=2, leak=1.0, seed=0):
    rng = np.random.default_rng(seed)
    member = np.arange(n) % 2 == 0
    return rng.normal(size=(n, d)) + leak * member[:, None], member


def test_folds_are_even_in_members_random_and_repeatable():
    member = np.arange(103) % 3 == 0
    fold = fold_of_rows(member, seed=1)
    for kind in (True, False):
        sizes = np.bincount(fold[member == kind], minlength=5)
        assert len(sizes) == 5 and sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(fold, fold_of_rows(member, seed=1))
    assert (fold != fold_of_rows(member, seed=2)).any()
    np.testing.assert_array_equal(fold, fold_of_rows(~member, seed=1))  # swapped labels: the same folds


def test_twins_share_a_fold_and_whole_shadows_are_left_out():
    member = np.random.default_rng(0).random(200) < 0.5
    twins = np.repeat(np.arange(100), 2)
    fold = fold_of_rows(member, 3, twins)
    assert (fold[::2] == fold[1::2]).all() and set(fold) == set(range(5))
    shadows = np.repeat([7, 3, 9], [50, 100, 50])
    fold = fold_of_rows(member, 3, shadows)
    assert set(fold) == {0, 1, 2} and all(len(set(fold[shadows == shadow])) == 1 for shadow in (7, 3, 9))
    for share in (0.4, 0.5, 0.6):  # two shadows, one with more members than the other, are two folds as well
        uneven = np.concatenate([np.arange(50) < 50 * share, np.arange(50) < 25])
        assert set(fold_of_rows(uneven, 0, np.repeat([0, 1], 50))) == {0, 1}
    many = fold_of_rows(np.random.default_rng(1).random(160) < 0.5, 0, np.repeat(np.arange(8), 20))
    assert set(many) == set(range(5)) and np.bincount(many).max() <= 60


def test_folds_that_cannot_be_fitted_are_refused():
    with pytest.raises(CompLeakError, match="alone to fit on"):
        fold_of_rows(np.array([True, False] * 5), 0, np.zeros(10))
    with pytest.raises(CompLeakError, match="alone to fit on"):
        fold_of_rows(np.array([True] + [False] * 9), 0)


def test_scores_equal_one_refit_after_the_other():
    features, member = drawn()
    target, _ = drawn(n=50, seed=1)
    fold = fold_of_rows(member, derive_seed(4, "folds"))
    parts = [(fold != part, fold == part) for part in range(5)]
    forest = derive_seed(4, "forest")
    shadows = np.repeat(np.arange(3), 100)
    by_shadow = [(shadows != one, shadows == one) for one in range(3)]
    for kind, groups, folds, fit in (("logistic", None, parts, classifiers.fit_logistic),
                                     ("forest", shadows, by_shadow,
                                      lambda rows, flags: classifiers.fit_forest(rows, flags, forest))):
        found = learn(features, Rows(member, groups), target, 4, [kind])
        for rest, out in folds:
            np.testing.assert_array_equal(found.shadow[out], fit(features[rest], member[rest]).score(features[out]))
        np.testing.assert_array_equal(found.target, fit(features, member).score(target))
        assert found.areas == {kind: auc(found.shadow, member)}
    found = learn(features, Rows(member), target, 4, kinds=["nets"])
    for place, rest, scored in ((3, *parts[3]), (None, np.ones(300, bool), None)):
        asked = target if scored is None else features[scored]
        each = [train_and_score([Job(features, member, np.flatnonzero(rest), asked, derive_seed(4, "weights", place, i),
                                     derive_seed(4, "order", place, i))])[0] for i in range(NETS)]
        got = found.target if scored is None else found.shadow[scored]
        np.testing.assert_allclose(got, expit(np.mean(each, axis=0)), rtol=1e-3, atol=1e-3)


def test_of_several_shadows_some_rows_are_fitted_on_evenly_and_all_are_scored(monkeypatch):
    monkeypatch.setattr(learners, "FITTED_AT_MOST", 120)
    features, member = drawn()
    rows = Rows(member, np.repeat([4, 1, 7], 100))
    kept = learners.fitted_rows(rows, 0)
    assert all(kept[(rows.groups == one) & (member == kind)].sum() == 20 for one in (4, 1, 7) for kind in (0, 1))
    assert (kept != learners.fitted_rows(rows, 1)).any() and learners.fitted_rows(Rows(member), 0).all()
    fitted, fit = [], learners.fit_logistic
    monkeypatch.setattr(learners, "fit_logistic", lambda x, y: fitted.append(x) or fit(x, y))
    found = learn(features, rows, features[:7], 4)
    assert set(found.areas) == {"nets", "logistic"} and len(found.shadow) == 300 and len(found.target) == 7
    kept = learners.fitted_rows(rows, derive_seed(4, "rows"))
    assert [len(x) for x in fitted] == [80, 80, 80, 120]
    np.testing.assert_array_equal(fitted[-1], features[kept])


def test_a_forest_of_one_shadow_is_judged_out_of_bag_and_twins_never_judge_each_other(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 150)  # or a pair of twins might be in every tree's sample
    features, member = drawn()
    whole = classifiers.fit_forest(features, member, derive_seed(4, "forest"))
    found = learn(features, Rows(member), features, 4, kinds=["forest"])
    np.testing.assert_array_equal(found.shadow, whole.score_out_of_bag())
    twins = np.arange(300) // 2 * 2
    found = learn(features, Rows(member, None, twins), features, 4, ["forest"])
    np.testing.assert_array_equal(found.shadow, whole.score_out_of_bag(twins))
    assert (found.shadow != whole.score_out_of_bag()).any()


def test_no_two_networks_share_a_seed(monkeypatch):
    features, member = drawn()
    seen = []

    def scores(jobs):
        seen.extend(seed for job in jobs for seed in (job.weights, job.order))
        return [np.zeros(len(job.scored)) for job in jobs]

    monkeypatch.setattr(learners, "train_and_score", scores)
    learn(features, Rows(member), features, 4, kinds=["nets"])
    assert len(seen) == len(set(seen)) == 2 * NETS * 6


def test_the_kind_is_the_best_on_the_shadow_and_the_first_of_equals(monkeypatch):
    features, member = drawn()
    good, bad = member + 0.1, np.zeros(len(member))

    def gives(of_kind):
        scores = {kind: (of_kind.get(kind, bad), np.full(3, KINDS.index(kind))) for kind in KINDS}
        return {kind: (lambda *_, kind=kind: scores[kind]) for kind in KINDS}

    for of_kind, kind in (({"forest": good}, "forest"), ({"logistic": good, "forest": good}, "logistic"), ({}, "nets")):
        monkeypatch.setattr(learners, "FITTERS", gives(of_kind))
        found = learn(features, Rows(member), features[:3], 0, kinds=KINDS[::-1])
        assert isinstance(found, Learned) and found.kind == kind and set(found.areas) == set(KINDS)
        np.testing.assert_array_equal(found.target, KINDS.index(kind))
        np.testing.assert_array_equal(found.shadow, of_kind.get(kind, bad))


@pytest.mark.parametrize("kind", KINDS)
def test_a_null_shadow_gives_a_half(kind):
    features, member = drawn(n=1500, leak=0.0)
    found = learn(features, Rows(member), features, 0, kinds=[kind])
    assert found.areas[kind] == pytest.approx(0.5, abs=0.05)
    if kind == "forest":
        assert auc(found.target, member) > 0.65  # the rows' own labels, which the shadow's scores must not have seen


@pytest.mark.parametrize("kind", ["nets", "logistic"])
def test_swapped_labels_mirror_the_scores(kind):
    features, member = drawn()
    found, swapped = (learn(features, Rows(flags), features, 0, kinds=[kind]) for flags in (member, ~member))
    np.testing.assert_allclose(swapped.target, 1 - found.target, atol=2e-3)
    assert auc(swapped.shadow, member) == pytest.approx(1 - auc(found.shadow, member), abs=2e-3)
    assert auc(found.shadow, member) > 0.7


def test_features_that_are_not_finite_are_refused():
    features, member = drawn()
    spoiled = features.copy()
    spoiled[3, 1] = np.nan
    with pytest.raises(CompLeakError, match="features are not finite in 1 of 300"):
        learn(features, Rows(member), spoiled, 0)


def test_a_forest_of_few_different_rows_is_judged_by_folds():
    rng, member = np.random.default_rng(0), np.arange(120) < 60
    twins = np.arange(120) % 12
    features = twins[:, None] + np.zeros((120, 2))
    found = learn(features, Rows(member, None, twins), rng.normal(size=(7, 2)), 0, ["forest"])
    assert np.isfinite(found.shadow).all() and len(found.target) == 7
