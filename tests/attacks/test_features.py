"""attacks/features.py on small known cases."""

import numpy as np
import pytest
from scipy.special import softmax

from attacks.features import one_hot, softmax64, sr_features, train_based_features


def test_softmax_is_float64_and_survives_large_logits():
    logits = np.array([[1000, 999, -1000], [0, 1, 2]], np.float32)
    posteriors = softmax64(logits)
    assert posteriors.dtype == np.float64
    np.testing.assert_allclose(posteriors, softmax(logits.astype(np.float64), axis=1), rtol=1e-14)


def test_one_hot_and_train_based_features():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    posteriors = np.array([[0.2, 0.8], [0.6, 0.4]])
    np.testing.assert_array_equal(train_based_features(posteriors), posteriors)
    np.testing.assert_array_equal(train_based_features(posteriors, np.array([0, 1])),
                                  [[0.2, 0.8, 1, 0], [0.6, 0.4, 0, 1]])


def test_single_reference_features_follow_the_originals_order():
    original = np.log([[0.2, 0.5, 0.3]])
    compressed = np.log([[0.6, 0.1, 0.3]])
    labels = np.array([2])
    np.testing.assert_allclose(sr_features(original, compressed, labels, False), [[0.5, 0.3, 0.2, 0.1, 0.3, 0.6]])
    np.testing.assert_allclose(sr_features(original, compressed, labels, True),
                               [[0.5, 0.3, 0.2, 0.1, 0.3, 0.6, 0, 1, 0]])


def test_equal_logits_keep_the_order_of_classes():
    features = sr_features(np.zeros((1, 3)), np.log([[0.6, 0.1, 0.3]]), np.array([1]), True)
    np.testing.assert_allclose(features[0, 3:], [0.6, 0.1, 0.3, 0, 1, 0])


def test_rows_that_do_not_pair_are_refused():
    with pytest.raises(AssertionError):
        sr_features(np.zeros((2, 3)), np.zeros((3, 3)), np.array([0, 1]), False)
