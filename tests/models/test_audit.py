"""models/audit.py: any model asked in any form; both files of answers or neither."""
import errno
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.errors import CompLeakError
from common.files import load_arrays, save_arrays
from models import audit
from models.outputs import read_outputs
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
    model = given.pop("model", None) or Own().train()
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
    outputs = read_outputs(tmp_path / "queries.npz", tmp_path / "sensitivity.npz")
    assert np.array_equal(outputs.sensitivity[0], arrays["index"]) and np.array_equal(outputs.scored, scored[::-1])


def test_sensitivities_of_another_model_are_refused(tmp_path):
    asked(tmp_path / "one")
    asked(tmp_path / "two", inputs=torch.ones(40, 5))
    with pytest.raises(CompLeakError, match="another format or model"):
        read_outputs(tmp_path / "one" / "queries.npz", tmp_path / "two" / "sensitivity.npz")


@pytest.mark.parametrize(("changes", "says"), [
    ({"index": np.arange(39)}, "40 inputs and index (39,)"),
    ({"inputs": torch.zeros(40, 5, dtype=torch.uint8)}, "sensitivities need floating-point"),
    ({"labels": np.arange(40)}, "labels run from 0 to 39, outside 0..2"),
    ({"member": np.arange(39) < 9}, "member is bool (39,)"),
    ({"index": np.zeros(40, int)}, "39 repeat"),
    ({"inputs": torch.zeros(0, 5), "index": np.arange(0)}, "inputs are (0, 5): give at least one"),
    ({"inputs": [["a"]] * 40}, "give a tensor or a NumPy array of numbers"),
    ({"inputs": torch.zeros(40, 6)}, "the model fails on a batch (40, 6) of torch.float32: RuntimeError: "),
    ({"scored": np.zeros(40, bool)}, "scored marks no row"),
    ({"model": "a name"}, "the model is str: give a PyTorch module"),
    ({"model": lambda x: x.argmax(1)}, "the model gives Tensor torch.int64 (8,) for 8 inputs"),
    ({"model": lambda x: {"loss": 1, "states": None}}, "the model gives dict with loss, states for 8 inputs"),
    ({"model": lambda x: x[:1]}, "torch.float32 (1, 5) for 8 inputs: logits [8, classes] are needed"),
    ({"model": lambda x: x.softmax(1)}, "so they are posteriors"),
    ({"model": lambda x: F.dropout(x)}, "answers one input in two ways, as with dropout on"),
    ({"model": Own().half()}, "torch.float16, whose rounding is larger than the noise"),
    ({"model": Own().bfloat16()}, "give sensitivity=False, or model.float()"),
    ({"model": lambda x: Own().eval().half()(x.half())}, "torch.float16, whose rounding is larger than the noise"),
    ({"model": torch.autocast("cpu", torch.bfloat16)(Own().eval().forward)}, "torch.bfloat16, whose rounding"),
])
def test_ask_refuses_what_does_not_fit(tmp_path, changes, says):
    with pytest.raises(CompLeakError) as caught:
        asked(tmp_path, **changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def logits_in(folder):
    return load_queries(folder / "queries.npz").logits


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The folder of what the plain module answers."""
    folder = tmp_path_factory.mktemp("plain")
    asked(folder)
    return folder


def frozen():
    return torch.jit.freeze(torch.jit.script(Own().eval()))


def exported():
    batch = torch.export.Dim("batch", min=2)
    return torch.export.export(Own().eval(), (torch.zeros(4, 5),), dynamic_shapes=({0: batch},))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [
    lambda: Own().requires_grad_(False), lambda: torch.jit.script(Own().eval()), frozen, exported,
    lambda: exported().module(), lambda: Own().eval().forward, lambda: lambda x: (Own().eval()(x), x),
    lambda: lambda x: [None, Own().eval()(x)],
    lambda: lambda x: {"loss": torch.zeros(()), "logits": Own().eval()(x)}, lambda: lambda x: {"out": Own().eval()(x)},
    lambda: lambda x: SimpleNamespace(logits=Own().eval()(x)), lambda: lambda x: Own().eval()(x).detach().numpy(),
    lambda: Own().double(),
], ids=["no gradients", "scripted", "frozen", "exported program", "exported module", "method", "tuple", "list",
        "dictionary", "dictionary of one", "object", "NumPy answers", "float64"])
def test_every_kind_of_model_gives_the_same_answers(tmp_path, expected, make):
    asked(tmp_path, model=make())
    np.testing.assert_allclose(logits_in(tmp_path), logits_in(expected), rtol=1e-4, atol=1e-5)
    moved, plain = (load_arrays(folder / "sensitivity.npz", ("sensitivity",))[0] for folder in (tmp_path, expected))
    np.testing.assert_allclose(moved["sensitivity"], plain["sensitivity"], rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_models_in_half_precision_give_answers_alone(tmp_path, expected, precision):
    asked(tmp_path, model=Own().to(precision), sensitivity=False)
    np.testing.assert_allclose(logits_in(tmp_path), logits_in(expected), atol=0.05)
    assert not (tmp_path / "sensitivity.npz").exists()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numpy_inputs_and_tensors_of_labels_are_taken(tmp_path, expected, kind):
    inputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(1)).numpy()[::-1].astype(kind)[::-1]
    asked(tmp_path, inputs=inputs, labels=torch.arange(40) % 3, member=torch.arange(40) < 20)
    np.testing.assert_allclose(logits_in(tmp_path), logits_in(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("failing", ["sensitivity.npz", "queries.npz"])
def test_both_files_appear_or_neither(tmp_path, monkeypatch, failing):
    def refuse(path, meta, **arrays):
        if failing in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_arrays(path, meta, **arrays)

    monkeypatch.setattr(audit, "save_arrays", refuse)
    with pytest.raises(OSError):
        asked(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_module_that_wraps_an_exported_one_is_left_as_it_was(tmp_path, expected):
    model = nn.Sequential(exported().module())
    asked(tmp_path, model=model)
    assert model.training
    np.testing.assert_allclose(logits_in(tmp_path), logits_in(expected), rtol=1e-4, atol=1e-5)
