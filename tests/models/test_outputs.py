"""models/outputs.py and models/bare.py: bare files that cannot be used, what posteriors are told by, who is scored."""
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from common.errors import CompLeakError
from models.outputs import Outputs, own_split, read_outputs
from models.queries import losses


def answers(n=60, **changes):
    rng = np.random.default_rng(0)
    made = {"logits": rng.normal(size=(n, 3)), "labels": rng.integers(3, size=n), "index": np.arange(n),
            "member": np.arange(n) < n // 2, **changes}
    return {name: array for name, array in made.items() if array is not None}


@pytest.mark.parametrize(("changes", "says"), [
    ({"member": None}, "lacks member"), ({"logits": None, "index": None}, "lacks logits, index"),
    ({"logits": np.where(np.arange(180).reshape(60, 3) == 52, np.nan, 0.5)},
     "row 17 (index 17) holds nan for class 1, and 1 row(s) hold such values"),
    ({"logits": np.full((60, 3), np.nan)}, "60 row(s)"), ({"logits": np.full((60, 3), 1e300)}, "finite float32"),
    ({"logits": np.where(np.eye(3)[np.arange(60) % 3], 0, -np.inf)}, "logarithm of a posterior of 0: save the logits"),
    ({"logits": np.zeros(60)}, "logits is float64 (60,); it must be floating-point, [n, classes]"),
    ({"logits": np.zeros((60, 3), int)}, "logits is int64"), ({"logits": np.zeros((60, 1))}, "two classes"),
    ({"logits": np.full((60, 4), 0.25)}, "rows sum to about 1, so they are posteriors"),
    ({"labels": np.full(60, 3)}, "outside 0..2"), ({"labels": np.full(60, -1)}, "outside 0..2"),
    ({"labels": np.zeros(60)}, "labels is float64"), ({"index": np.full(60, 7)}, "59 repeat"),
    ({"index": np.arange(60) - 1}, "the smallest is -1"), ({"member": np.arange(60)}, "member is int64 (60,)"),
    ({"member": np.arange(59) < 3}, "n = 60"), ({"losses": np.full(60, np.nan)}, "row 0 (index 0) says nan, it is"),
    ({"losses": np.full(60, np.inf)}, "60 of 60 losses are not the cross-entropy"),
    ({"losses": np.zeros(59)}, "losses is float64 (59,)"), ({"scored": np.ones(60)}, "scored is float64"),
    ({"meta": np.array('{"format": 9}')}, "has format 9, this version reads 1"),
    ({"labels": np.array([{}] * 60)}, "is damaged"),
])
def test_bare_files_that_cannot_be_used_are_named(tmp_path, changes, says):
    path = tmp_path / "target.npz"
    np.savez(path, **answers(**changes))
    with pytest.raises(CompLeakError) as caught:
        read_outputs(path)
    assert says in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def read(folder, **changes):
    """The Outputs of a file of answers; the arrays beside."""
    made = answers(**changes)
    with np.errstate(all="ignore"):
        np.savez(folder / "target.npz", **made)
    return read_outputs(folder / "target.npz"), made


def some_logits(n=300, classes=10):
    return np.random.default_rng(2).normal(scale=4, size=(n, classes))


def bfloat16(values):
    """Values with the eight bits that bfloat16 keeps, as float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x8000) & 0xFFFF0000).view(np.float32)


POSTERIORS = softmax(some_logits(), axis=1)


@pytest.mark.parametrize("given", [
    POSTERIORS, POSTERIORS.astype(np.float16), bfloat16(POSTERIORS), POSTERIORS.round(3), POSTERIORS.round(2),
    100 * POSTERIORS, (100 * POSTERIORS).round(1), np.where(np.arange(300)[:, None] == 7, 0, POSTERIORS),
    np.where(np.arange(300)[:, None] < 3, 0, 100 * POSTERIORS),
    255 * POSTERIORS, POSTERIORS - 1e-9,
], ids=["exact", "float16", "bfloat16", "three decimals", "two decimals", "percentages", "percentages, one decimal",
        "one zero row", "percentages, three zero rows", "bytes",
        "a little below 0"])
def test_posteriors_are_refused_by_their_sums_with_the_remedy(tmp_path, given):
    n = len(given)
    with pytest.raises(CompLeakError, match="so they are posteriors: save the logits, or the posteriors' natural log"):
        read(tmp_path, n=n, logits=given, labels=np.arange(n) % 10)


@pytest.mark.parametrize("given", [
    1 / (1 + np.exp(-some_logits())), np.where(POSTERIORS == POSTERIORS.max(1, keepdims=True), POSTERIORS, 0)],
    ids=["sigmoid", "top-1 alone"])
def test_values_in_0_to_1_are_refused_with_the_remedy(tmp_path, given):
    with pytest.raises(CompLeakError, match="lie in 0–1, so they are posteriors, a sigmoid's outputs or the top class"):
        read(tmp_path, n=300, logits=given, labels=np.arange(300) % 10)


@pytest.mark.parametrize("given", [
    some_logits(), np.maximum(some_logits(), 0), log_softmax(some_logits(), axis=1), some_logits(classes=2),
    np.maximum(some_logits(classes=1000), 0), POSTERIORS - POSTERIORS.max() - 1,
    np.log(np.maximum(np.eye(10)[np.arange(300) % 10], 1e-30))],
    ids=["logits", "after a ReLU", "log-posteriors", "two classes", "a thousand classes after a ReLU",
         "shifted as the remedy says", "clipped as the remedy says"])
def test_logits_of_every_kind_pass(tmp_path, given):
    labels = np.arange(300) % given.shape[1]
    outputs, _ = read(tmp_path, n=300, logits=given, labels=labels)
    np.testing.assert_allclose(outputs.losses, -log_softmax(given, axis=1)[np.arange(300), labels], rtol=1e-4,
                               atol=1e-5)


@pytest.mark.parametrize(("change", "fits"), [
    (lambda own: own, True), (lambda own: own.astype(np.float16), True), (lambda own: own * 1.0009 + 0.0009, True),
    (lambda own: -own, False), (lambda own: own * 1.01, False), (lambda own: own / np.log(2), False),
    (lambda own: np.where(np.arange(60) == 5, np.inf, own), False), (lambda own: own[::-1], False)])
def test_given_losses_are_compared_and_computed(tmp_path, change, fits):
    own = losses(answers()["logits"], answers()["labels"])
    if fits:
        outputs, _ = read(tmp_path, losses=change(own))
        assert np.array_equal(outputs.losses, losses(outputs.logits, outputs.labels))
    else:
        with pytest.raises(CompLeakError, match="losses are not the cross-entropy .* leave losses out"):
            read(tmp_path, losses=change(own))


def test_bare_files_are_sorted_and_given_losses(tmp_path):
    made, order = answers(), np.random.default_rng(1).permutation(60)
    np.savez(tmp_path / "target.npz", **{name: array[order] for name, array in made.items()})
    outputs = read_outputs(tmp_path / "target.npz")
    np.testing.assert_array_equal(outputs.logits, made["logits"].astype(np.float32))
    np.testing.assert_allclose(outputs.losses, losses(outputs.logits, made["labels"]))
    assert outputs.scored.all() and outputs.sensitivity is None


def outputs(member, index, scored=None):
    n = len(index)
    zeros, scored = np.zeros(n), np.ones(n, bool) if scored is None else scored
    return Outputs("x", np.zeros((n, 2), np.float32), zeros, zeros.astype(int), index, member, scored, None)


def test_rows_that_both_sides_could_use_go_where_they_are_lacking():
    index = np.arange(1000)
    target = outputs(index < 200, index)
    shadow = outputs((index >= 200) & (index < 500), index)
    split = own_split(target, [shadow], "data", 0)
    # 500 rows are nobody's members: the target lacks 200 and the shadow 300.
    assert [len(world.members) for world in split.worlds] == [200, 300]
    assert [len(world.non_members) for world in split.worlds] == [200, 300]
    short = own_split(outputs(index < 400, index), [outputs((index >= 400) & (index < 800), index)], "data", 0)
    assert [len(world.non_members) for world in short.worlds] == [100, 100]


def test_rows_that_the_other_side_trained_on_are_not_scored():
    index = np.arange(400)
    target, shadow = outputs(index < 200, index), outputs((index >= 100) & (index < 300), index)
    split = own_split(target, [shadow], "data", 0)
    assert sorted(split.target.members) == list(range(100))
    assert sorted(split.shadows[0].members) == list(range(200, 300))
    outside = np.concatenate([split.target.non_members, split.shadows[0].non_members])
    assert sorted(outside) == list(range(300, 400))
