"""models/query.py: answers, losses and sensitivities against plain loops, and files that cannot be trusted."""
import json

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from common.errors import CompLeakError
from common.files import load_arrays, save_arrays
from data.splits import make_split
from models import queries as module
from models.answering import query_index
from models.hints import mending
from models.networks.resnet import ResNet
from models.queries import Queries, is_current, load_queries, losses, noise, query

STATISTICS = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
MEAN, STD = (np.array(values, dtype=np.float64) for values in STATISTICS)


class Precise(nn.Module):
    """A network that computes in float64, so that a difference of 1e-3 in its input is not lost in rounding."""

    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, x):
        return self.network(x.double())


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = ResNet(4, widths=(4, 8, 8, 16)).to(memory_format=torch.channels_last)
    for tensor in model.state_dict().values():
        if tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)


def sensitivity(model, images, statistics, index, seed, device):
    return module.sensitivity_of(model, module.pictures(images, statistics, index, device), index, seed, "")


def normalised(picture):
    """[1, 3, h, w] float32 of one picture, by the formula."""
    return torch.from_numpy(((picture / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32))


@torch.no_grad()
def test_logits_are_those_of_each_picture_alone(network, pictures):
    index = np.array([1, 4, 5, 30, 59])
    logits = query(network, pictures, STATISTICS, index, "cpu")
    assert logits.shape == (5, 4) and logits.dtype == np.float32
    for row, i in zip(logits, index, strict=True):
        np.testing.assert_allclose(row, network(normalised(pictures[i]))[0].numpy(), rtol=1e-4, atol=1e-4)
    assert np.ptp(logits, axis=0).min() > 0.01, "pictures must be told apart"


@pytest.mark.parametrize("batch", [1, 7, 20])
def test_the_batch_size_does_not_matter(network, pictures, monkeypatch, batch):
    index = np.arange(60)
    whole = query(network, pictures, STATISTICS, index, "cpu")
    monkeypatch.setattr(module, "BATCH", batch)
    np.testing.assert_allclose(query(network, pictures, STATISTICS, index, "cpu"), whole, rtol=1e-4, atol=1e-4)


def allow_tf32(allowed):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def test_queries_are_float32_without_tf32(network, pictures):
    before, seen = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32), []

    def look(layer, given, result):
        seen.append((result.dtype, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))

    network.fc.register_forward_hook(look)
    try:
        for ask in (query, lambda *given: sensitivity(*given[:4], 0, given[4])):
            allow_tf32(True)
            ask(network, pictures, STATISTICS, np.arange(3), "cpu")
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    assert len(seen) == 3 and set(seen) == {(torch.float32, False, False)}


@torch.no_grad()
def test_sensitivity_is_the_plain_loop_of_the_formula(network, pictures):
    model, index = Precise(network), np.array([0, 3, 31, 58])
    result = sensitivity(model, pictures, STATISTICS, index, 9, "cpu")
    assert result.shape == (4, 4) and result.dtype == np.float32
    for values, i in zip(result, index, strict=True):
        x, total = normalised(pictures[i]), np.zeros(4)
        u = noise(9, i, (10, 3, 8, 8))
        still = softmax(model(x)[0].numpy())
        for one in u:
            total += np.abs(softmax(model(x + np.float32(1e-3) * torch.from_numpy(one))[0].numpy()) - still)
        # x in float32 carries 1e-7 of rounding, which the division by ε makes 1e-4.
        np.testing.assert_allclose(values, total / (10 * 1e-3), rtol=5e-3, atol=5e-5)
        assert values.max() > 1e-3


def test_sensitivity_of_a_row_does_not_depend_on_the_others(network, pictures):
    model = Precise(network)
    whole = sensitivity(model, pictures, STATISTICS, np.arange(60), 9, "cpu")
    some = np.array([2, 40, 41])
    np.testing.assert_allclose(sensitivity(model, pictures, STATISTICS, some, 9, "cpu"), whole[some], rtol=1e-4)
    assert not np.allclose(sensitivity(model, pictures, STATISTICS, some, 8, "cpu"), whole[some], rtol=1e-2)


def test_noise_is_standard_normal_and_named_by_seed_and_row():
    u = noise(3, 17, (10, 3, 32, 32))
    assert u.dtype == np.float32 and abs(u.mean()) < 0.03 and abs(u.std() - 1) < 0.03
    assert np.array_equal(u, noise(3, np.int64(17), (10, 3, 32, 32)))
    for other in (noise(4, 17, u.shape), noise(3, 18, u.shape)):
        assert abs(np.corrcoef(u.ravel(), other.ravel())[0, 1]) < 0.03


def test_losses_are_cross_entropy_in_float64():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(size=(50, 10)), 40 * rng.normal(size=(50, 10))]).astype(np.float32)
    labels = rng.integers(10, size=100)
    expected = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(100), labels]
    result = losses(logits, labels)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-14)


# --- files

def answers(n=20, **changes):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, 3)).astype(np.float32)
    labels = rng.integers(3, size=n)
    return {"logits": logits, "losses": losses(logits, labels), "labels": labels, "index": np.arange(n) * 3 + 1,
            "member": np.arange(n) % 2 == 0, **changes}


META = {"variant": "original", "world": "target", "weights": "abc"}


def test_queries_are_read_back(tmp_path):
    save_arrays(tmp_path / "queries.npz", META, **answers())
    read = load_queries(tmp_path / "queries.npz")
    for name, array in answers().items():
        assert np.array_equal(getattr(read, name), array) and getattr(read, name).dtype == array.dtype
    assert read.meta == {"format": 1, **META}
    assert list(tmp_path.iterdir()) == [tmp_path / "queries.npz"]


def test_rows_finds_positions_and_refuses_what_was_not_asked():
    queries = Queries(**answers(), meta=META)
    assert queries.rows(np.array([58, 1, 4, 4])).tolist() == [19, 0, 1, 1]
    for missing in ([0], [2, 4], [59], [1000], [-1]):
        with pytest.raises(CompLeakError, match="1 of the pictures.*original/target.*--query_rows all"):
            queries.rows(np.array(missing))


def refused(path, says):
    with pytest.raises(CompLeakError) as error, mending("python train.py"):
        load_queries(path)
    said = str(error.value)
    assert "\n" not in said and str(path) in said and says in said and said.endswith("run python train.py"), said


@pytest.mark.parametrize(("changes", "says"), [
    ({"losses": np.zeros(19, np.float32)}, "losses is float32 (19,); it must be floating-point, [n], n = 20"),
    ({"member": np.zeros(21, bool)}, "member is bool (21,); it must be bool, [n], n = 20 as in index"),
    ({"logits": np.zeros(20, np.float32)}, "it must be floating-point, [n, classes]"),
    ({"logits": np.full((20, 3), np.nan, np.float32)}, "finite"),
    ({"logits": np.full((20, 3), np.inf, np.float32)}, "finite"),
    ({"index": np.arange(20)[::-1].copy()}, "ascending"),
    ({"index": np.repeat(np.arange(10), 2)}, "ascending"),
    ({"logits": np.full((20, 3), "a")}, ""),
    ({"member": np.array(True)}, ""),
])
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, says):
    save_arrays(tmp_path / "queries.npz", META, **answers(**changes))
    refused(tmp_path / "queries.npz", says)


def test_missing_parts_and_other_formats_are_refused(tmp_path):
    path = tmp_path / "queries.npz"
    refused(path, "is missing")
    whole = answers()
    save_arrays(path, META, **{name: whole[name] for name in whole if name != "losses"})
    refused(path, "is damaged")
    np.savez(path, **whole)
    refused(path, "format None")
    save_arrays(path, {**META, "format": 99}, **whole)
    refused(path, "format 99")


@pytest.mark.parametrize("keep", [0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, keep):
    path = tmp_path / "queries.npz"
    save_arrays(path, META, **answers())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    refused(path, "is damaged")
    assert not is_current(path, META)


@pytest.mark.parametrize("content", [b"garbage", b"PK\x03\x04 garbage", b"\x93NUMPY garbage"])
def test_garbage_is_refused(tmp_path, content):
    (tmp_path / "queries.npz").write_bytes(content)
    refused(tmp_path / "queries.npz", "is damaged")


def test_a_lone_array_is_refused(tmp_path):
    with open(tmp_path / "queries.npz", "wb") as file:
        np.save(file, np.zeros(3))
    refused(tmp_path / "queries.npz", "is damaged")


def test_a_flipped_bit_in_the_numbers_is_noticed(tmp_path):
    path = tmp_path / "queries.npz"
    save_arrays(path, META, **answers())
    raw = bytearray(path.read_bytes())
    raw[raw.index(answers()["logits"].tobytes()) + 7] ^= 1
    path.write_bytes(raw)
    refused(path, "is damaged")
    assert not is_current(path, META)


@pytest.mark.parametrize("where", ["logits", "meta"])
def test_a_planted_pickle_is_refused_and_does_not_run(tmp_path, where, planted):
    path = tmp_path / "queries.npz"
    trap = np.empty(1, dtype=object)
    trap[0] = planted(tmp_path / "ran")
    np.savez(path, **{"meta": np.array(json.dumps({"format": 1, **META})), **answers(), where: trap})
    refused(path, "is damaged")
    assert not is_current(path, META) or where == "logits"
    assert not (tmp_path / "ran").exists()
    with np.load(path, allow_pickle=True) as file:
        file[where]
    assert (tmp_path / "ran").exists(), "the trap itself works"


def test_a_file_is_current_only_for_what_it_was_made_from(tmp_path):
    path = tmp_path / "sensitivity.npz"
    assert not is_current(path, META)
    save_arrays(path, META, index=np.arange(3))
    assert is_current(path, META)
    assert not is_current(path, {**META, "weights": "other"}) and not is_current(path, {**META, "seed": 1})
    arrays, meta = load_arrays(path, ("index",))
    assert arrays["index"].tolist() == [0, 1, 2] and meta["world"] == "target"


@pytest.mark.parametrize(("rows", "train_size", "taken"), [
    ("all", 10, "all"), ("scored", 30, "scored"), ("auto", 30, "all"), ("auto", 10, "scored")])
def test_which_pictures_are_asked(rows, train_size, taken):
    split = make_split(100, 0, train_size=train_size)
    found, index = query_index(split, rows)
    scored = set(np.concatenate([world.evaluation for world in split.worlds]).tolist())
    assert found == taken and set(index.tolist()) == (set(range(100)) if taken == "all" else scored)
    assert (np.diff(index) > 0).all()
