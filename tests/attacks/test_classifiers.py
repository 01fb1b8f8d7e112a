"""attacks/classifiers.py: signal, null models, repeatability, and that cross-fitting never sees the row."""

import warnings

import numpy as np
import pytest
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


def test_unusable_input_is_refused():
    features, member = rows(0, 20, 0.0)
    for fit in (fit_logistic, forest):
        with pytest.raises(CompLeakError, match="members and non-members"):
            fit(features, np.ones(20, bool))
    with pytest.raises(CompLeakError, match="5 folds"):
        cross_fit(fit_logistic, features, np.arange(20) < 3, seed=0)
