"""The integer units one by one, against torch's int8 operators and plain int64, and the quantisation-aware ones."""
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.errors import CompLeakError
from models.compression.int8_units import (
    Activation,
    Grid,
    Int8Average,
    Int8Concat,
    Int8Conv,
    Int8Sum,
)
from models.compression.quantization import Observed, QuantisedLayer, QuantisedNorm, convert
from models.networks.units import Average, Concat, Norm, Sum

GRIDS = {"a": (0.031, 11), "b": (0.054, 64), "u": (0.047, 40)}  # two inputs, and the unit's output


def state_of(**more):
    """Tensors of the grids in GRIDS, and more."""
    grids = {f"{name}.scale": torch.tensor(scale) for name, (scale, _) in GRIDS.items()}
    zeros = {f"{name}.zero_point": torch.tensor(zero, dtype=torch.int32) for name, (_, zero) in GRIDS.items()}
    return {**grids, **zeros, **{f"u.{name}": tensor for name, tensor in more.items()}}


def integers(*shape, seed=0, low=0):
    """Random uint8, low to 127."""
    return torch.randint(low, 128, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def activation(state, name="a", channels=6, size=9, seed=0):
    """Random integers of two pictures on one of the grids, and the same as torch's quantised tensor."""
    q, grid = integers(2, size, size, channels, seed=seed), Grid(state, name)
    theirs = torch._make_per_tensor_quantized_tensor(q.permute(0, 3, 1, 2), *GRIDS[name])
    return Activation(q, grid), theirs


def same(ours, theirs):
    """Whether an Activation holds torch's integers, and not one integer only."""
    return torch.equal(ours.q.permute(0, 3, 1, 2), theirs.int_repr()) and len(ours.q.unique()) > 20


def plain_int64(a, weight, zero_point, stride, padding, dilation, groups):
    """Σ w·(a − zero point) by the definition: a [n, h, w, c] and weight [out, c/groups, k, k], int64 numpy."""
    a = np.pad(a - zero_point, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    out, per_group, k, _ = weight.shape
    rows, columns = ((size - dilation * (k - 1) - 1) // stride + 1 for size in a.shape[1:3])
    total = np.zeros((len(a), rows, columns, out), dtype=np.int64)
    for o in range(out):
        first = o // (out // groups) * per_group
        for y, x in np.ndindex(rows, columns):
            patch = a[:, y * stride :, x * stride :, first : first + per_group][:, ::dilation, ::dilation][:, :k, :k]
            total[:, y, x, o] = (patch * weight[o].transpose(1, 2, 0)).sum((1, 2, 3))
    return total


GEOMETRIES = [(1, 1, 1, 1), (1, 1, 1, 6), (2, 1, 1, 6), (1, 2, 2, 6), (2, 0, 1, 3), (1, 2, 2, 1), (2, 3, 2, 2)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolutions_of_every_geometry_equal_int64_and_torchs_kernel(geometry, torch_int8):
    stride, padding, dilation, groups = geometry
    torch.manual_seed(1)
    weight = torch.randint(-127, 128, (12, 6 // groups, 3, 3), dtype=torch.int8)
    state = state_of(weight=weight, weight_scale=torch.linspace(0.001, 0.003, 12), bias=torch.linspace(-1, 1, 12))
    a, theirs = activation(state)
    layer = Int8Conv(state, "u", geometry)
    exact = layer(a)
    expected = plain_int64(a.q.long().numpy(), weight.long().numpy(), 11, *geometry)
    for wide in (False, True):
        layer.wide = wide
        assert np.array_equal(layer.sums(a.q).numpy(), expected)
    assert same(exact, torch_int8(state).conv(theirs, "u", False, stride, padding, dilation, groups))
    layer.pack_kernel()
    assert torch.equal(layer(a).q, exact.q)


@pytest.mark.parametrize("options", [{}, {"bias": True}, {"groups": 3}, {"groups": 6, "stride": 2}, {"dilation": 2},
                                     {"padding": 0, "bias": True, "groups": 2, "dilation": 2}])
@pytest.mark.parametrize("act", [None, F.relu, F.relu6, "no norm"])
def test_a_trained_convolution_gives_its_integers(options, act):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 12, 3, **{"padding": 1, "bias": False, **options})
    norm = Norm(12, None if act == "no norm" else act)
    nn.init.normal_(norm.weight, 0, 3)  # outputs above 6, and factors below 0
    x = torch.randn(40, 6, 9, 9)
    unit = nn.ModuleDict({"a": Observed(nn.Identity()), "u": QuantisedLayer(conv, None if act == "no norm" else norm)})
    for _ in range(3):
        unit["u"](unit["a"](x))
    with torch.no_grad():
        x = unit.eval()["a"](x)
        simulated = unit["u"](x)
        plain = conv(x) if act == "no norm" else norm(conv(x))
    state = convert(unit)
    grid = Grid(state, "a")
    layer = Int8Conv(state, "u", (conv.stride[0], conv.padding[0], conv.dilation[0], conv.groups))
    found = layer(Activation(grid.steps(x.permute(0, 2, 3, 1)), grid))
    values = found.grid.values(found.q).permute(0, 3, 1, 2)
    apart = ((values - simulated) / found.grid.scale).abs()
    assert apart.max() < 1.01 and (apart > 0.5).float().mean() < 0.001
    inside = (plain - plain.clamp(*(found.grid.values(torch.tensor([0, 127]))))).abs() < 1e-6
    assert ((values - plain)[inside].abs() < 0.05 * plain.abs().max()).all() and len(found.q.unique()) > 40
    if act in (F.relu, F.relu6):
        assert values.min() == 0 and (values.max() > 6.5) == (act is F.relu)


def trained_norm(act, channels=6):
    """A QuantisedNorm with one silent channel and one of each sign, named as in GRIDS, and what it saw."""
    torch.manual_seed(0)
    norm = Norm(channels, act)
    norm.weight.data = torch.tensor([1.0, -0.5, 0.0, 2.0, -1.5, 0.3])
    nn.init.normal_(norm.bias)
    unit, x = nn.ModuleDict({"u": QuantisedNorm(norm)}), 2 * torch.randn(40, channels, 9, 9) + 1
    unit["u"](x)
    return unit.eval(), state_of() | convert(unit)


@pytest.mark.parametrize("act", [None, F.relu])
def test_a_norm_after_a_concatenation_is_an_exact_affine_step(act, torch_int8):
    unit, state = trained_norm(act)
    a, theirs = activation(state)
    found, norm = Int8Conv(state, "u", (1, 0, 1, 6))(a), unit["u"].bn
    assert state["u.weight"].flatten().tolist() == [1, -1, 0, 1, -1, 1]
    assert (state["u.zero_point"] > 0) == (act is None)
    assert same(found, torch_int8(state).conv(theirs, "u", act is not None, groups=6))
    x = theirs.dequantize().double()
    mean, variance, weight, bias = (part.detach().double().view(-1, 1, 1) for part in (
        norm.running_mean, norm.running_var, norm.weight, norm.bias))
    exact = (x - mean) / (variance + norm.eps).sqrt() * weight + bias
    steps = (exact / found.grid.scale + found.grid.zero_point).clamp(0, 127)
    assert (found.q.permute(0, 3, 1, 2) - steps).abs().max() < 0.501
    with torch.no_grad():
        apart = found.grid.values(found.q).permute(0, 3, 1, 2) - unit["u"](x.float())
    assert (apart.abs() > 0.01 * found.grid.scale).float().mean() < 0.001


@pytest.mark.parametrize("relu", [False, True])
def test_sums_equal_torchs(relu, torch_int8):
    state = state_of() | ({"u.zero_point": torch.tensor(0)} if relu else {})
    (a, theirs_a), (b, theirs_b) = activation(state), activation(state, "b", seed=1)
    assert same(Int8Sum(state, "u")(a, b), torch_int8(state).add(theirs_a, theirs_b, "u", relu))


def test_concatenations_equal_torchs_and_requantise_each_part(torch_int8):
    state = state_of()
    (a, theirs_a), (b, theirs_b) = activation(state), activation(state, "b", channels=4, seed=1)
    found = Int8Concat(state, "u")([a, b, a])
    assert found.q.shape == (2, 9, 9, 16) and same(found, torch_int8(state).cat([theirs_a, theirs_b, theirs_a], "u"))
    assert not torch.equal(found.q[..., :6], a.q) and torch.equal(found.q[..., :6], found.q[..., 10:])


@pytest.mark.parametrize(("size", "side"), [(None, 1), (2, 4), (3, 3), (20, 1)])
def test_averages_are_rounded_once(size, side):
    state = state_of()
    a, theirs = activation(state)
    a.q[1] = integers(9, 9, 6, low=60)
    found = Int8Average(state, "u", Average(size))(a)
    values = (a.q.permute(0, 3, 1, 2).double() - 11) * GRIDS["a"][0]
    mean = values.mean((2, 3), keepdim=True) if size is None else F.avg_pool2d(values, min(size, 9))
    steps = (mean / GRIDS["u"][0] + GRIDS["u"][1]).permute(0, 2, 3, 1)
    assert found.q.shape == (2, side, side, 6) and (found.q - steps).abs().max() < 0.5001 and len(found.q.unique()) > 5
    floats = Average(size)(values)
    assert torch.allclose(floats.flatten(), mean.flatten())


def test_each_convolution_keeps_to_the_grid_that_it_learnt():
    state = state_of(weight=torch.ones(2, 6, 1, 1, dtype=torch.int8), weight_scale=torch.ones(2), bias=torch.zeros(2))
    layer = Int8Conv(state, "u")
    layer(activation(state)[0])
    with pytest.raises(AssertionError):
        layer(activation(state, "b")[0])
    with pytest.raises(CompLeakError, match="u.weight: expected int8 of 2 or 4 dimensions, found torch.float32"):
        Int8Conv(state | {"u.weight": torch.ones(2, 6)}, "u")


@pytest.mark.parametrize(("unit", "given", "signed"), [
    (Sum(relu=True), (torch.ones(2), torch.tensor([1.0, -3.0])), False),
    (Sum(), (torch.ones(2), torch.tensor([1.0, -3.0])), True),
    (Concat(), ([torch.ones(1, 1, 1, 1), -torch.ones(1, 1, 1, 1)],), True),
    (Average(), (-torch.ones(1, 1, 2, 2),), True)])
def test_a_unit_without_weights_puts_its_values_on_one_grid(unit, given, signed):
    observed = Observed(unit)
    values, expected = observed(*given), unit(*given)
    assert torch.allclose(values, expected, atol=observed.grid()[0].item()) and observed.signed == signed
    assert (observed.grid()[1] > 0) == signed and len(observed.packed()) == 2
