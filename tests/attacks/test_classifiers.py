"""attacks/classifiers.py: signal, null models, repeatability, and that cross-fitting never sees the row."""

import warnings

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold

from attacks import classifiers
from attacks.classifiers import cross_fit, fit_forest, fit_logistic
from common.errors import CompLeakError
from common.metrics import auc

NINETY_NINE_POINT_NINE = 3.2905


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 40)


def rows(seed, n, shift):
    rng = np.random.default_rng(seed)
    member = rng.permutation(n) < n // 2
    return rng.normal(size=(n, 4)) + shift * member[:, None], member


def forest(features, member):
    return fit_forest(features, member, seed=0)


@pytest.mark.parametrize("fit", [fit_logistic, forest])
def test_signal_is_found_and_scores_are_probabilities(fit):
    scores = fit(*rows(0, 600, 1.0)).score(rows(1, 600, 1.0)[0])
    assert auc(scores, rows(1, 600, 1.0)[1]) > 0.85
    assert scores.min() >= 0 and scores.max() <= 1 and scores.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("fit", [fit_logistic, forest])
def test_null_model_is_a_coin(fit):
    features, member = rows(3, 1000, 0.0)
    scores = fit(*rows(2, 1000, 0.0)).score(features)
    deviation = np.sqrt((1000 + 1) / (12 * 500 * 500))
    assert 0 < np.ptp(scores)
    assert abs(auc(scores, member) - 0.5) < NINETY_NINE_POINT_NINE * deviation


@pytest.mark.parametrize("fit", [fit_logistic, forest])
def test_swapped_members_mirror_the_scores(fit):
    features, member = rows(0, 600, 1.0)
    points, truth = rows(1, 400, 1.0)
    assert auc(fit(features, ~member).score(points), truth) == pytest.approx(
        1 - auc(fit(features, member).score(points), truth), abs=0.01)


def test_logistic_regression_converges_without_warnings_on_hard_columns():
    features, member = rows(0, 600, 5.0)
    constant = np.hstack([features * [1e6, 1e-6, 1, 1], np.ones((600, 1)), features[:, :1] * 2e6])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = fit_logistic(constant, member).score(constant)
    assert auc(scores, member) > 0.99


def test_forest_repeats_bit_for_bit_and_follows_its_seed():
    features, member = rows(0, 600, 0.3)
    first, again, other = (fit_forest(features, member, seed).score(features) for seed in (2**40 + 1, 2**40 + 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("n", "cores"), [(1, 4), (2 * classifiers.BLOCK - 1, 4), (2 * classifiers.BLOCK + 1, 3),
                                          (5 * classifiers.BLOCK + 7, 4)])
def test_cores_that_share_the_rows_give_the_scores_of_one_core(monkeypatch, n, cores):
    monkeypatch.setattr(classifiers, "cpu_count", lambda: cores)
    fitted, points = fit_forest(*rows(0, 600, 0.3), seed=0), rows(1, n, 0.3)[0]
    expected = np.zeros(n)
    for tree in fitted.estimator.estimators_:
        expected += tree.predict_proba(points)[:, 1]
    assert fitted.estimator.n_jobs == 1
    np.testing.assert_array_equal(fitted.score(points), expected / len(fitted.estimator.estimators_))


def test_forest_leaves_hold_thirty_samples():
    features, member = rows(0, 600, 0.3)
    trees = fit_forest(features, member, 0).estimator.estimators_
    assert len(trees) == 40
    assert min(tree.tree_.weighted_n_node_samples.min() for tree in trees) >= 30


def test_cross_fit_equals_a_plain_loop_over_five_stratified_folds():
    features, member = rows(0, 203, 1.0)
    expected = np.full(203, np.nan)
    for rest, held_out in StratifiedKFold(5, shuffle=True, random_state=7).split(features, member):
        expected[held_out] = fit_logistic(features[rest], member[rest]).score(features[held_out])
    np.testing.assert_array_equal(cross_fit(fit_logistic, features, member, seed=7), expected)


class Recorder:
    """Stands in for a classifier; remembers the rows (their first feature) that it was fitted on."""

    def __init__(self, log):
        self.log = log

    def __call__(self, features, member):
        self.seen = set(features[:, 0])
        return self

    def score(self, features):
        self.log.append(sorted(features[:, 0]))
        assert not self.seen & set(features[:, 0])
        return features[:, 0]


def test_folds_are_the_same_for_every_version_and_never_contain_the_row():
    member = np.arange(100) % 2 == 0
    logs = []
    for other_columns in (0.0, 1.0):
        log = []
        features = np.stack([np.arange(100.0), np.full(100, other_columns)], 1)
        np.testing.assert_array_equal(cross_fit(Recorder(log), features, member, seed=3), np.arange(100))
        logs.append(log)
    assert logs[0] == logs[1] and len(logs[0]) == 5
    another = []
    cross_fit(Recorder(another), features, member, seed=4)
    assert another != logs[0]


def test_with_several_shadows_one_is_left_out_at_a_time():
    log = []
    groups = np.repeat([3, 5, 9], 20)
    cross_fit(Recorder(log), np.arange(60.0)[:, None], np.arange(60) % 2 == 0, seed=0, groups=groups)
    assert log == [list(range(0, 20)), list(range(20, 40)), list(range(40, 60))]


def test_more_groups_than_folds_are_left_out_several_at_a_time_and_never_divided():
    log, groups = [], np.arange(7).repeat(10)
    scores = cross_fit(Recorder(log), np.arange(70.0)[:, None], np.arange(70) % 2 == 0, seed=0, groups=groups)
    np.testing.assert_array_equal(scores, np.arange(70))
    assert len(log) == 5 and max(map(len, log)) == 20
    for left_out in log:
        np.testing.assert_array_equal(left_out, np.flatnonzero(np.isin(groups, groups[np.int64(left_out)])))


def test_in_sample_noise_does_not_leak_into_cross_fitted_scores():
    features, member = rows(5, 600, 0.0)
    in_sample = auc(forest(features, member).score(features), member)
    crossed = auc(cross_fit(forest, features, member, seed=0), member)
    assert in_sample > 0.7 and abs(crossed - 0.5) < 0.1


@pytest.mark.parametrize(("n", "cores"), [(200, 1), (2 * classifiers.BLOCK + 1, 2), (3 * classifiers.BLOCK + 5, 3)])
def test_out_of_bag_scores_are_scikit_learns_to_the_last_digit_on_any_number_of_cores(monkeypatch, n, cores):
    monkeypatch.setattr(classifiers, "cpu_count", lambda: cores)
    monkeypatch.setattr(classifiers, "BAGS", 7)
    features, member = rows(0, n, 0.3)
    plain = RandomForestClassifier(40, min_samples_leaf=30, random_state=5, oob_score=True).fit(
        features.astype(np.float32), member)
    scores = fit_forest(features, member, 5).score_out_of_bag()
    np.testing.assert_array_equal(scores, plain.oob_decision_function_[:, 1])


def test_out_of_bag_scores_of_noise_know_nothing_and_of_a_signal_resemble_cross_fitted_ones():
    features, member = rows(5, 600, 0.0)
    assert abs(auc(forest(features, member).score_out_of_bag(), member) - 0.5) < 0.1
    features, member = rows(6, 1000, 0.5)
    unseen, crossed = forest(features, member).score_out_of_bag(), cross_fit(forest, features, member, seed=0)
    assert abs(auc(unseen, member) - auc(crossed, member)) < 0.02 and np.corrcoef(unseen, crossed)[0, 1] > 0.95


def test_a_tree_that_saw_a_twin_does_not_score_the_row():
    features, member = rows(0, 300, 0.3)
    fitted, twins = fit_forest(features, member, 0), np.arange(300)
    twins[7] = twins[5]
    drawn = [set(some.tolist()) for some in fitted.estimator.estimators_samples_]
    for row in (5, 7, 8):
        kin = set(np.flatnonzero(twins == twins[row]).tolist())
        free = [tree for tree, some in zip(fitted.estimator.estimators_, drawn, strict=True) if not kin & some]
        expected = np.mean([tree.predict_proba(features[[row]].astype(np.float32))[0, 1] for tree in free])
        assert fitted.score_out_of_bag(twins)[row] == pytest.approx(expected, abs=1e-12)


def test_rows_that_every_tree_saw_are_an_error(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 2)
    with pytest.raises(CompLeakError, match="rows are in the bootstrap sample of each of 2 trees"):
        forest(*rows(0, 200, 0.3)).score_out_of_bag()


def test_with_several_shadows_unseen_means_the_whole_shadow():
    features, member = rows(0, 300, 0.3)
    groups = np.repeat([0, 1], 150)
    expected = cross_fit(forest, features, member, seed=0, groups=groups)
    np.testing.assert_array_equal(forest(features, member).score_unseen(groups), expected)
    np.testing.assert_array_equal(forest(features, member).score_unseen(np.zeros(300)),
                                  forest(features, member).score_out_of_bag())


def test_twins_share_a_fold_and_lone_rows_keep_theirs():
    member, log, plain = np.arange(100) % 2 == 0, [], []
    twins = np.arange(100)
    twins[[90, 93, 40]] = 11
    cross_fit(Recorder(log), np.arange(100.0)[:, None], member, seed=3, twins=twins)
    (fold,) = [left_out for left_out in log if 11 in left_out]
    assert {11, 40, 90, 93} <= set(fold) and sorted(sum(log, [])) == list(range(100)) and len(log) == 5
    cross_fit(Recorder(plain), np.arange(100.0)[:, None], member, seed=3)
    again = []
    cross_fit(Recorder(again), np.arange(100.0)[:, None], member, seed=3, twins=np.arange(100)[::-1])
    assert again == plain


def test_equal_rows_are_those_with_the_same_features_and_label():
    features = np.array([[0.1, 0.9], [0.2, 0.8], [0.1, 0.9], [0.1, 0.9]])
    first, second, third, other = classifiers.equal_rows(features, np.array([1, 1, 1, 0]))
    assert first == third and len({first, second, other}) == 3


def test_unusable_input_is_refused():
    features, member = rows(0, 20, 0.0)
    for fit in (fit_logistic, forest):
        with pytest.raises(CompLeakError, match="members and non-members"):
            fit(features, np.ones(20, bool))
    with pytest.raises(CompLeakError, match="5 folds"):
        cross_fit(fit_logistic, features, np.arange(20) < 3, seed=0)
