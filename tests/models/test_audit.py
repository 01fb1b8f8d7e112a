"""models/audit.py: any module asked, what may be scored, and arrays that cannot be used."""
import numpy as np
import pytest
import torch
from torch import nn

from common.errors import CompLeakError
from common.files import load_arrays
from models import audit
from models.queries import load_queries, losses, sensitivity_of


class Own(nn.Module):
    """A module of a user's own: two-dimensional inputs, dropout that must be off when it is asked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x):
        return self.layers(x)


def asked(folder, n=40, **changes):
    generator = torch.Generator().manual_seed(1)
    given = {"inputs": torch.randn(n, 5, generator=generator), "labels": np.arange(n) % 3,
             "member": np.arange(n) < n // 2, "index": np.arange(n)[::-1] * 2, **changes}
    model = Own().train()
    audit.ask(model, folder=folder, **given)
    return model, given


def test_any_module_is_asked_in_evaluation_mode_and_left_as_it_was(tmp_path):
    model, given = asked(tmp_path)
    assert model.training and model.layers[2].training
    queries = load_queries(tmp_path / "queries.npz")
    assert queries.index.tolist() == sorted(given["index"].tolist())
    with torch.no_grad():
        expected = model.eval()(given["inputs"]).numpy()[::-1]
    np.testing.assert_allclose(queries.logits, expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(queries.labels, given["labels"][::-1])
    assert np.array_equal(queries.member, given["member"][::-1])
    np.testing.assert_allclose(queries.losses, losses(queries.logits, queries.labels))


def test_sensitivities_are_of_the_scored_rows_and_read_back(tmp_path):
    scored = np.arange(40) % 4 > 0
    model, given = asked(tmp_path, scored=scored, seed=3)
    arrays, meta = load_arrays(tmp_path / "sensitivity.npz", ("index", "sensitivity"))
    rows = np.flatnonzero(scored)[::-1]
    assert np.array_equal(arrays["index"], given["index"][rows]) and meta["seed"] == 3
    expected = sensitivity_of(model.eval(), lambda part: given["inputs"][rows[part].copy()], given["index"][rows], 3,
                              "")
    np.testing.assert_allclose(arrays["sensitivity"], expected, rtol=1e-3, atol=1e-5)
    assert expected.max() > 0.01
    outputs = audit.read_outputs(tmp_path / "queries.npz", tmp_path / "sensitivity.npz")
    assert np.array_equal(outputs.sensitivity[0], arrays["index"]) and np.array_equal(outputs.scored, scored[::-1])


def test_sensitivities_of_another_model_are_refused(tmp_path):
    asked(tmp_path / "one")
    asked(tmp_path / "two", inputs=torch.ones(40, 5))
    with pytest.raises(CompLeakError, match="another format or model"):
        audit.read_outputs(tmp_path / "one" / "queries.npz", tmp_path / "two" / "sensitivity.npz")


@pytest.mark.parametrize(("changes", "says"), [
    ({"index": np.arange(39)}, "40 inputs and index (39,)"),
    ({"inputs": torch.zeros(40, 5, dtype=torch.uint8)}, "sensitivities need floating-point"),
    ({"labels": np.arange(40)}, "labels run from 0 to 39, outside 0..2"),
    ({"member": np.arange(39) < 9}, "member is bool (39,)"),
    ({"index": np.zeros(40, int)}, "39 repeat"),
])
def test_ask_refuses_what_does_not_fit(tmp_path, changes, says):
    with pytest.raises(CompLeakError) as caught:
        asked(tmp_path, **changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def answers(n=60, **changes):
    rng = np.random.default_rng(0)
    made = {"logits": rng.normal(size=(n, 3)), "labels": rng.integers(3, size=n), "index": np.arange(n),
            "member": np.arange(n) < n // 2, **changes}
    return {name: array for name, array in made.items() if array is not None}


@pytest.mark.parametrize(("changes", "says"), [
    ({"member": None}, "lacks member"), ({"logits": None, "index": None}, "lacks logits, index"),
    ({"logits": np.full((60, 3), np.nan)}, "finite"), ({"logits": np.full((60, 3), 1e300)}, "finite float32"),
    ({"logits": np.zeros(60)}, "logits is float64 (60,); it must be floating-point, [n, classes]"),
    ({"logits": np.zeros((60, 3), int)}, "logits is int64"), ({"logits": np.zeros((60, 1))}, "two classes"),
    ({"logits": np.full((60, 4), 0.25)}, "rows of logits sum to 1, so they are posteriors"),
    ({"labels": np.full(60, 3)}, "outside 0..2"), ({"labels": np.full(60, -1)}, "outside 0..2"),
    ({"labels": np.zeros(60)}, "labels is float64"), ({"index": np.full(60, 7)}, "59 repeat"),
    ({"index": np.arange(60) - 1}, "the smallest is -1"), ({"member": np.arange(60)}, "member is int64 (60,)"),
    ({"member": np.arange(59) < 3}, "n = 60"), ({"losses": np.full(60, np.nan)}, "losses must be numbers"),
    ({"losses": np.zeros(59)}, "losses is float64 (59,)"), ({"scored": np.ones(60)}, "scored is float64"),
    ({"meta": np.array('{"format": 9}')}, "has format 9, this version reads 1"),
    ({"labels": np.array([{}] * 60)}, "is damaged"),
])
def test_bare_files_that_cannot_be_used_are_named(tmp_path, changes, says):
    path = tmp_path / "target.npz"
    np.savez(path, **answers(**changes))
    with pytest.raises(CompLeakError) as caught:
        audit.read_outputs(path)
    assert says in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_bare_files_are_sorted_and_given_losses(tmp_path):
    made, order = answers(), np.random.default_rng(1).permutation(60)
    np.savez(tmp_path / "target.npz", **{name: array[order] for name, array in made.items()})
    outputs = audit.read_outputs(tmp_path / "target.npz")
    np.testing.assert_array_equal(outputs.logits, made["logits"].astype(np.float32))
    np.testing.assert_allclose(outputs.losses, losses(outputs.logits, made["labels"]))
    assert outputs.scored.all() and outputs.sensitivity is None


def outputs(member, index, scored=None):
    n = len(index)
    zeros, scored = np.zeros(n), np.ones(n, bool) if scored is None else scored
    return audit.Outputs("x", np.zeros((n, 2), np.float32), zeros, zeros.astype(int), index, member, scored, None)


def test_rows_that_both_sides_could_use_go_where_they_are_lacking():
    index = np.arange(1000)
    target = outputs(index < 200, index)
    shadow = outputs((index >= 200) & (index < 500), index)
    split = audit.own_split(target, [shadow], "data", 0)
    # 500 rows are nobody's members: the target lacks 200 and the shadow 300.
    assert [len(world.members) for world in split.worlds] == [200, 300]
    assert [len(world.non_members) for world in split.worlds] == [200, 300]
    short = audit.own_split(outputs(index < 400, index), [outputs((index >= 400) & (index < 800), index)], "data", 0)
    assert [len(world.non_members) for world in short.worlds] == [100, 100]


def test_rows_that_the_other_side_trained_on_are_not_scored():
    index = np.arange(400)
    target, shadow = outputs(index < 200, index), outputs((index >= 100) & (index < 300), index)
    split = audit.own_split(target, [shadow], "data", 0)
    assert sorted(split.target.members) == list(range(100))
    assert sorted(split.shadows[0].members) == list(range(200, 300))
    outside = np.concatenate([split.target.non_members, split.shadows[0].non_members])
    assert sorted(outside) == list(range(300, 400))
