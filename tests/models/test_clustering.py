"""models/compression/clustering.py against an exact k-means, plain loops and autograd."""
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from models.compression import clustering
from models.compression.clustering import Centroids, centroid_gradient, kmeans_1d, nearest
from models.networks import compressible_layers
from models.networks.resnet import ResNet
from models.training import Hooks, Recipe, train


def network():
    torch.manual_seed(0)
    return ResNet(3, widths=(4, 8, 8, 16)).to(memory_format=torch.channels_last)


def fine_tune(model, technique, tmp_path, epochs=2):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(3, size=24))
    recipe = Recipe(epochs=epochs, lr=0.002, batch_size=12, augment=True, bfloat16=False, seed=7)
    train(model, images, labels, ((0.5,) * 3, (0.3,) * 3), recipe, technique, None, tmp_path / "log", "test")


def exact_cost(values, k):
    """Least sum of squares of k intervals of the sorted values, by the plain O(n²k) dynamic programme."""
    x = np.sort(values.astype(np.float64))
    x = x - x.mean()
    n, sums, squares = len(x), np.append(0, np.cumsum(x)), np.append(0, np.cumsum(x**2))
    # within[i, j]: sum of squares of x[i:j] about its own mean
    length = np.maximum(np.arange(n + 1)[None] - np.arange(n + 1)[:, None], 1)
    within = squares[None] - squares[:, None] - (sums[None] - sums[:, None]) ** 2 / length
    within[np.tril_indices(n + 1)] = np.inf
    best = within[0]
    for _ in range(k - 1):
        best = np.minimum(best, (best[:, None] + within).min(0))
    return best[-1]


def cost(values, centroids):
    return ((values.astype(np.float64)[:, None] - centroids.astype(np.float64)) ** 2).min(1).sum()


def sample(name, n=400):
    rng = np.random.default_rng(0)
    return {
        "normal": lambda: rng.normal(size=n),
        "small": lambda: 1e-3 * rng.normal(size=n),
        "laplace": lambda: rng.laplace(size=n),
        "student t": lambda: rng.standard_t(3, size=n),
        "uniform": lambda: rng.random(n),
        "two heaps": lambda: np.append(rng.normal(-3, 0.1, n // 2), rng.normal(3, 0.2, n - n // 2)),
        "half zeros": lambda: np.append(np.zeros(n // 2), rng.normal(size=n - n // 2)),
        "far from zero": lambda: 1000 + rng.normal(size=n),
        "rounded": lambda: np.round(rng.normal(size=n), 1),
        "one far out": lambda: np.append(rng.normal(size=n - 1), 1e4),
    }[name]().astype(np.float32)


DISTRIBUTIONS = ("normal", "small", "laplace", "student t", "uniform", "two heaps", "half zeros", "far from zero",
                 "rounded", "one far out")


@pytest.mark.parametrize("k", [2, 4, 8, 16])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_kmeans_is_within_a_thousandth_of_the_optimum(name, k):
    values = sample(name)
    centroids = kmeans_1d(values, k)
    assert centroids.dtype == np.float32 and len(centroids) == k and (np.diff(centroids) > 0).all()
    assert cost(values, centroids) <= 1.001 * exact_cost(values, k) + 1e-9 * (values.astype(float) ** 2).sum()


@pytest.mark.parametrize("k", [4, 16])
def test_kmeans_ends_in_a_fixed_point(k):
    values = sample("laplace", 20_000)
    centroids = kmeans_1d(values, k)
    index = np.abs(values[:, None].astype(np.float64) - centroids).argmin(1)
    means = [values[index == c].astype(np.float64).mean() for c in range(k)]
    np.testing.assert_allclose(centroids, means, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [4, 16])
def test_kmeans_equals_a_plain_loop_from_the_same_start_exactly(k):
    # Whole numbers, so that no sum is rounded, in whatever order it is taken.
    values = np.round(1000 * sample("laplace", 3000))
    ordered = np.sort(values)
    start = clustering._cut_histogram(ordered, np.append(0.0, np.cumsum(ordered, dtype=np.float64)), k)
    centroids = np.array([part.mean(dtype=np.float64) for part in np.split(ordered, start[1:-1])])
    while True:
        index = np.abs(values[:, None] - centroids)[:, ::-1].argmin(1)  # midway between two goes to the upper one
        moved = np.array([values[k - 1 - index == c].mean(dtype=np.float64) for c in range(k)])
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    np.testing.assert_array_equal(kmeans_1d(values, k), centroids.astype(np.float32))


@pytest.mark.parametrize(("values", "expected"), [
    ([0.5] * 9, [0.5]),
    ([0.0] * 9, [0.0]),
    ([3, 1, 2, 1, 3, 3], [1, 2, 3]),
    ([-1, 4, -1, 4, 0, 7], [-1, 0, 4, 7]),
    ([2.5], [2.5]),
])
def test_few_distinct_values_are_their_own_centroids(values, expected):
    assert kmeans_1d(np.array(values, dtype=np.float32), 4).tolist() == expected


def test_kmeans_does_not_depend_on_the_order():
    values = sample("normal")
    assert np.array_equal(kmeans_1d(values, 8), kmeans_1d(values[::-1].copy(), 8))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_nearest_is_the_argmin(name):
    values = sample(name)
    centroids = np.sort(np.random.default_rng(1).choice(np.unique(values), 8, replace=False))
    index = nearest(values, centroids)
    distance = np.abs(values.astype(np.float64)[:, None] - centroids.astype(np.float64))
    assert index.dtype == np.int32
    assert np.array_equal(distance[np.arange(len(values)), index], distance.min(1))


@pytest.mark.parametrize("k", [1, 4, 16])
def test_a_centroids_gradient_is_the_sum_of_its_weights(k):
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(500, generator=generator)
    index = torch.randint(0, k, (500,), generator=generator).int()
    index[index == k - 1] = 0 if k > 1 else index[0]  # one centroid without weights
    expected = [0.0] * k
    for g, i in zip(gradient.tolist(), index.tolist(), strict=True):
        expected[i] += g
    result = centroid_gradient(gradient, index, k)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_gpu_formula_agrees(monkeypatch):
    class Elsewhere(torch.Tensor):
        """A tensor that says it is not on the CPU."""

        device = torch.device("meta")

    generator = torch.Generator().manual_seed(0)
    gradient, index = torch.randn(500, generator=generator), torch.randint(0, 7, (500,), generator=generator).int()
    monkeypatch.setattr(torch.Tensor, "index_add_", lambda *_: pytest.fail("this is the CPU's way"))
    elsewhere = centroid_gradient(gradient.as_subclass(Elsewhere), index, 8).as_subclass(torch.Tensor)
    monkeypatch.undo()
    torch.testing.assert_close(elsewhere, centroid_gradient(gradient, index, 8), rtol=1e-5, atol=1e-5)
    assert elsewhere[7] == 0


class Lookup(nn.Module):
    """weight = codebook[index], so that autograd itself finds the codebook's gradient."""

    def __init__(self, index):
        super().__init__()
        self.index = index

    def forward(self, centroids):
        return centroids[self.index].to(memory_format=torch.channels_last) if self.index.dim() == 4 \
            else centroids[self.index]


class PlainSharing(Hooks):
    """Weight sharing as parametrised layers: the reference that needs no hook."""

    def __init__(self, model, bit):
        self.centroids = []
        for layer in compressible_layers(model).values():
            weight = layer.weight.detach().contiguous()
            found = kmeans_1d(weight.numpy().reshape(-1), 2**bit)
            index = np.abs(weight.numpy()[..., None] - found).argmin(-1)
            layer.weight = nn.Parameter(torch.from_numpy(found))
            parametrize.register_parametrization(layer, "weight", Lookup(torch.from_numpy(index)), unsafe=True)
            self.centroids.append(layer.parametrizations.weight.original)

    def parameter_groups(self, model, weight_decay):
        rest = [p for p in model.parameters() if all(p is not c for c in self.centroids)]
        return [{"params": rest, "weight_decay": weight_decay}, {"params": self.centroids, "weight_decay": 0.0}]


@pytest.mark.parametrize("bit", [2, 4])
def test_training_equals_autograd_through_the_codebook(tmp_path, bit):
    ours, theirs = network(), network()
    technique, plain = Centroids(ours, bit), PlainSharing(theirs, bit)
    before = [c.detach().clone() for c in technique.codebooks]
    fine_tune(ours, technique, tmp_path)
    fine_tune(theirs, plain, tmp_path)
    for name, start, mine, theirs_c in zip(technique.layers, before, technique.codebooks, plain.centroids, strict=True):
        torch.testing.assert_close(mine, theirs_c, rtol=1e-3, atol=1e-5, msg=name)
        assert (mine != start).all(), f"{name}: every centroid moves"
    for name, layer in compressible_layers(theirs).items():
        torch.testing.assert_close(ours.get_submodule(name).weight, layer.weight, rtol=1e-3, atol=1e-5, msg=name)
    torch.testing.assert_close(ours.layer3[0].bn1.weight, theirs.layer3[0].bn1.weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bit", [1, 2, 3, 4])
def test_at_most_k_values_a_layer_and_assignments_stay(tmp_path, bit):
    model = network()
    technique = Centroids(model, bit)
    clustered = {name: layer.weight.detach().clone() for name, layer in technique.layers.items()}
    fine_tune(model, technique, tmp_path)
    assert len(technique.layers) == 21
    for name, layer in technique.layers.items():
        weight = layer.weight.detach()
        assert len(weight.unique()) <= 2**bit
        assert not torch.equal(weight, clustered[name])
        for value in clustered[name].unique():
            assert len(weight[clustered[name] == value].unique()) == 1, "weights of one centroid move together"


def test_the_first_weights_are_those_of_nearest_centroids():
    dense, model = network(), network()
    Centroids(model, 3)
    for name, layer in compressible_layers(model).items():
        before = dense.get_submodule(name).weight.detach().numpy().reshape(-1)
        after = layer.weight.detach().contiguous().numpy().reshape(-1)
        centroids = kmeans_1d(before, 8)
        assert set(after.tolist()) == set(centroids.tolist())
        np.testing.assert_allclose(np.abs(before - after), np.abs(before[:, None] - centroids).min(1), atol=1e-7)


def test_centroids_see_no_weight_decay():
    model = network()
    technique = Centroids(model, 2)
    rest, centroids = technique.parameter_groups(model, 5e-4)
    assert centroids["weight_decay"] == 0.0 and rest["weight_decay"] == 5e-4
    assert [id(p) for p in centroids["params"]] == [id(c) for c in technique.codebooks]
    weights = {id(layer.weight) for layer in technique.layers.values()}
    assert {id(p) for p in rest["params"]} == {id(p) for p in model.parameters()} - weights


@pytest.mark.parametrize("bit", [1, 2, 3, 4, 8])
def test_pack_and_unpack_give_the_weights_back(bit):
    model = network()
    Centroids(model, bit)
    packed = clustering.pack(model, bit)
    state, expected = clustering.unpack(packed, bit), model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    for name, layer in compressible_layers(model).items():
        assert packed[f"{name}.weight.indices"].numel() == -(-layer.weight.numel() * bit // 8)
        assert packed[f"{name}.weight.codebook"].numel() <= 2**bit
    network().load_state_dict(state)


def test_centroids_that_met_are_packed_as_one():
    model = network()
    technique = Centroids(model, 2)
    with torch.no_grad():
        technique.codebooks[0][1] = technique.codebooks[0][3]
    technique.after_step()
    packed = clustering.pack(model, 2)
    assert packed["conv1.weight.codebook"].numel() == 3
    assert torch.equal(clustering.unpack(packed, 2)["conv1.weight"], model.conv1.weight)


@pytest.mark.parametrize("n", [1, 7, 8, 1001])
@pytest.mark.parametrize("bit", range(1, 9))
def test_bits_are_packed_without_loss(bit, n):
    index = np.random.default_rng(bit).integers(0, 2**bit, n)
    index[-1] = 2**bit - 1
    packed = clustering.pack_bits(index, bit)
    assert packed.dtype == np.uint8 and len(packed) == -(-n * bit // 8)
    assert clustering.unpack_bits(packed, bit, n).tolist() == index.tolist()


def test_bits_lie_in_the_order_of_the_integers():
    assert clustering.pack_bits(np.array([0b01, 0b10, 0b11, 0b00]), 2).tolist() == [0b01101100]


@pytest.mark.parametrize("bit", [0, 9, -1, 2.5])
def test_other_bits_are_refused(bit):
    with pytest.raises(AssertionError, match="2 to 256 centroids"):
        Centroids(network(), bit)


def test_flat_is_a_view_in_memory_order():
    weight = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    clustering.flat(weight)[5] = 42.0
    assert weight.permute(0, 2, 3, 1).reshape(-1)[5] == 42.0
    assert clustering.flat(weight).data_ptr() == weight.data_ptr()
