"""int8: a converted ResNet-18, its integers against torch's int8 kernels and plain int64, and its file."""
import copy
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.errors import CompLeakError
from models.compression import int8
from models.compression.int8_units import Activation, Grid, Int8Conv, Int8Sum, sum_bound, to_steps
from models.compression.quantization import fake_quantised_weight


def oracle(torch8, x):
    """Logits of the whole ResNet-18, its wiring written out, in torch's own int8 operators."""
    q = F.max_pool2d(torch8.conv(torch8.quantise(x, "input"), "conv1", relu=True), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            branch = torch8.conv(torch8.conv(q, f"{name}.conv1", True, stride), f"{name}.conv2", False)
            projected = f"{name}.shortcut.weight" in torch8.state
            side = torch8.conv(q, f"{name}.shortcut", False, stride) if projected else q
            q = torch8.add(branch, side, f"{name}.sum", relu=True)
    return torch8.linear(torch8.average(q, "pool"), "fc").dequantize()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_simulation_gives_the_logits_of_torchs_int8_kernels(seed, toys, torch_int8):
    network = toys.narrow(seed, classes=10)
    model = toys.prepared(network)
    toys.fine_tune(model, 3, seed, steps=2)
    state, (x, _) = int8.convert(model), toys.pictures(400, 9)
    expected, found = oracle(torch_int8(state), x), toys.simulated(state, network)(x)
    assert len(found.unique()) > 20
    # Convolutions and the classifier agree exactly. torch's add_relu, in float32, now and then rounds a residual sum
    # next to a tie to the farther integer (59.499993 to 60), and that picture's logits may move: 1 of 1,200 here.
    assert (found != expected).any(1).float().mean() <= 0.01


def test_names_and_types_of_the_tensors(trained):
    state, kinds = trained[2], {"weight": torch.int8, "weight_scale": torch.float32, "bias": torch.float32,
                                "scale": torch.float32, "zero_point": torch.int32}
    layers = ["conv1", "fc", *(f"layer{stage}.{block}.conv{i}" for stage in range(1, 5) for block in (0, 1)
                               for i in (1, 2)), *(f"layer{stage}.0.shortcut" for stage in (2, 3, 4))]
    others = ["input", "pool", *(f"layer{stage}.{block}.sum" for stage in range(1, 5) for block in (0, 1))]
    grids = [f"{name}.{key}" for name in layers + others for key in ("scale", "zero_point")]
    assert state.keys() == {f"{name}.{key}" for name in layers for key in ("weight", "weight_scale", "bias")} | {*grids}
    assert all(tensor.dtype == kinds[name.rpartition(".")[2]] for name, tensor in state.items())


def test_fast_path_equals_the_simulation_and_warns_of_nothing(trained, toys):
    x, _ = toys.pictures(300, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = int8.load_int8(trained[2], toys.narrow())
        logits = model(x)
    if "fbgemm" in torch.backends.quantized.supported_engines:
        assert model.backend == "torch-int8" and model.network.conv1.kernel is not None
    assert torch.equal(logits, toys.simulated(trained[2], toys.narrow())(x))
    assert logits.dtype == torch.float32 and logits.shape == (300, 4)


@pytest.mark.parametrize("failure", [RuntimeError, AttributeError, None])
def test_falls_back_to_the_simulation(trained, monkeypatch, failure, toys):
    def broken(layer, q):
        if failure:
            raise failure("no such kernel")
        return torch.zeros_like(to_steps(layer.sums(q).float()))

    monkeypatch.setattr(Int8Conv, "_fast", broken)
    engine, x = torch.backends.quantized.engine, toys.pictures(20, 3)[0]
    model = int8.load_int8(trained[2], toys.narrow())
    assert model.backend == "simulation" and torch.backends.quantized.engine == engine
    assert torch.equal(model(x), toys.simulated(trained[2], toys.narrow())(x))


def plain_int64(a, weight, zero_point, stride):
    """Σ w·(a − zero point) by the definition, in int64 numpy: a [n, h, w, c], weight [out, c, k, k]."""
    k = weight.shape[-1]
    a = np.pad(a.astype(np.int64) - zero_point, ((0, 0), (k // 2,) * 2, (k // 2,) * 2, (0, 0)))
    h, w = ((size - k) // stride + 1 for size in a.shape[1:3])
    total = np.zeros((len(a), h, w, len(weight)), dtype=np.int64)
    for i in range(k):
        for j in range(k):
            patch = a[:, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
            total += patch @ weight[:, :, i, j].astype(np.int64).T
    return total


@pytest.mark.parametrize("name, stride", [("conv1", 1), ("layer2.0.conv1", 2), ("layer2.0.shortcut", 2),
                                          ("layer3.1.conv2", 1)])
def test_layer_equals_plain_int64_in_float32_and_float64(trained, name, stride):
    state = trained[2]
    source = Grid(state, "input" if name == "conv1" else "layer1.1.sum")
    source.zero_point += 5  # off the usual 0, so that padding has to stand for the value 0
    weight = state[f"{name}.weight"].numpy()
    layer = Int8Conv(state, name, (stride, weight.shape[-1] // 2, 1, 1))
    layer.bind(source)
    a = torch.randint(128, (3, 9, 9, weight.shape[1]), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    expected = plain_int64(a.numpy(), weight, source.zero_point, stride)
    outputs = []
    for wide, dtype in ((False, torch.float32), (True, torch.float64)):
        layer.wide = wide
        assert layer.sums(a).dtype == dtype
        assert np.array_equal(layer.sums(a).numpy().astype(np.int64), expected)
        outputs.append(layer(Activation(a, source)).q.numpy())
    both = source.scale.numpy() * state[f"{name}.weight_scale"].numpy()
    steps = np.rint((expected.astype(np.float32) + state[f"{name}.bias"].numpy() / both) *
                    (both / state[f"{name}.scale"].numpy())) + state[f"{name}.zero_point"].numpy()
    assert all(np.array_equal(found, steps.clip(0, 127)) for found in outputs)
    assert 10 < len(np.unique(outputs[0]))


def test_sum_bound_is_reached_and_decides_the_float_type(trained):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (6, 50), dtype=torch.int8, generator=generator)
    for zero_point in (0, 40, 127):
        ends = np.stack([np.where(weight.numpy() > 0, high, low).astype(np.int64) for high, low in
                         ((127 - zero_point, -zero_point), (-zero_point, 127 - zero_point))])
        reached = np.abs((ends * weight.numpy()).sum(2)).max(0)
        assert np.array_equal(sum_bound(weight, zero_point).numpy(), reached)
    state = dict(trained[2])
    shape = (2, 1100, 1, 1)  # 1100·127·127 is above 2^24, 1000·127·127 below
    state |= {"conv1.weight": torch.full(shape, 127, dtype=torch.int8), "conv1.weight_scale": torch.ones(2),
              "conv1.bias": torch.zeros(2)}
    layer = Int8Conv(state, "conv1")
    layer.bind(Grid(state, "pool"))
    a = torch.full((1, 1, 1, 1100), 127, dtype=torch.uint8)
    a[0, 0, 0, 0] = 126
    assert layer.wide and layer.sums(a).dtype == torch.float64
    assert layer.sums(a)[0, 0, 0].tolist() == [1100 * 127 * 127 - 127] * 2
    state["conv1.weight"] = state["conv1.weight"][:, :1000]
    layer = Int8Conv(state, "conv1")
    layer.bind(Grid(state, "pool"))
    assert not layer.wide


def test_autocast_and_low_precision_settings_change_nothing(trained, toys):
    model, x = toys.simulated(trained[2], toys.narrow()), toys.pictures(40, 4)[0]
    expected, before = model(x), torch.get_float32_matmul_precision()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(x), expected) and model(x).dtype == torch.float32
    try:
        torch.set_float32_matmul_precision("medium")
        assert model.network.conv1.sums(torch.ones(1, 4, 4, 3, dtype=torch.uint8)).dtype == torch.float64
        assert torch.equal(model(x), expected)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(model(x.bfloat16().float()), torch.cat([model(row[None].bfloat16().float()) for row in x]))


def test_activations_are_integers_of_seven_bits(trained, toys):
    model, seen = toys.simulated(trained[2], toys.narrow()), []
    for module in model.modules():
        if isinstance(module, Int8Conv | Int8Sum):
            module.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0].q, output.q]))
    logits = model(10 * toys.pictures(int8.CHUNK["cpu"], 5)[0])
    assert len(seen) == 2 * (21 + 8)
    assert all(a.dtype == torch.uint8 and a.max() <= 127 for a in seen)
    assert max(a.max() for a in seen) == 127
    steps = logits / model.network.fc.grid.scale
    assert torch.allclose(steps, steps.round(), atol=1e-4)


def test_file_holds_int8_weights_and_gives_the_same_logits_in_another_process(trained, tmp_path, toys):
    state, x = trained[2], toys.pictures(30, 6)[0]
    torch.save(state, tmp_path / "weights.pt")
    torch.save(x, tmp_path / "x.pt")
    program = ("import sys, torch; from models.compression.int8 import load_int8; "
               "from models.networks.resnet import ResNet; "
               "load = lambda name: torch.load(f'{sys.argv[1]}/{name}.pt', weights_only=True); "
               "model = load_int8(load('weights'), ResNet(4, widths=(8, 12, 16, 24))); "
               "torch.save(model(load('x')), f'{sys.argv[1]}/logits.pt')")
    done = subprocess.run([sys.executable, "-W", "error", "-c", program, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    assert torch.equal(logits, int8.load_int8(state, toys.narrow())(x)) and len(logits.unique()) > 10
    weights = {name: tensor for name, tensor in state.items() if name.endswith(".weight")}
    assert len(weights) == 21 and all(w.dtype == torch.int8 for w in weights.values())
    assert all(w.flatten(1).int().abs().amax(1).eq(127).all() for w in weights.values())


def test_training_model_stays_close_to_the_converted_one(trained, toys):
    model, _, state = trained
    x, y = toys.pictures(300, 7)
    with torch.no_grad():
        apart = (model(x) - int8.load_int8(state, toys.narrow())(x)).abs() / state["fc.scale"]
    assert apart.max() < 10.5 and apart.mean() < 1
    assert (int8.load_int8(state, toys.narrow())(x).argmax(1) == y).float().mean() > 0.8


def test_folding_equals_convolution_then_batch_norm(trained):
    model, _, state = trained
    for name, layer in (("conv1", model.conv1), ("layer2.0.shortcut", model.layer2[0].shortcut)):
        assert (layer.bn.weight < 0).any()
        x = torch.randn(2, layer.layer.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
        weight = state[f"{name}.weight"].float() * state[f"{name}.weight_scale"].view(-1, 1, 1, 1)
        folded = F.conv2d(x, weight, state[f"{name}.bias"], layer.layer.stride, layer.layer.padding)
        with torch.no_grad():
            unfolded = nn.BatchNorm2d.forward(layer.bn, F.conv2d(x, fake_quantised_weight(layer.layer.weight), None,
                                                                 layer.layer.stride, layer.layer.padding))
        assert torch.allclose(folded, unfolded, atol=1e-4)


def test_a_silent_channel_becomes_its_bias(trained, toys):
    model = copy.deepcopy(trained[0])
    nn.init.zeros_(model.conv1.bn.weight)
    state = int8.convert(model)
    assert state["conv1.weight"].count_nonzero() == 0
    assert all(tensor.isfinite().all() for tensor in state.values())
    x = toys.pictures(8, 3)[0]
    logits = int8.load_int8(state, toys.narrow())(x)
    assert logits.isfinite().all() and len(logits.unique(dim=0)) == 1


def test_loading_names_a_missing_tensor(trained, toys):
    state = {name: tensor for name, tensor in trained[2].items() if name != "layer3.0.sum.scale"}
    with pytest.raises(CompLeakError, match="layer3.0.sum.scale"):
        int8.load_int8(state, toys.narrow())


def test_loading_refuses_another_networks_tensors(trained, toys):
    with pytest.raises(CompLeakError, match=r"another network: fc.weight has shape \(4, 24\), not \(3, 24\)"):
        int8.load_int8(trained[2], toys.narrow(classes=3))
