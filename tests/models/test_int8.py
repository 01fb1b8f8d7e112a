"""int8: training on the grids, conversion, integer evaluation against torch's int8 kernels and plain int64."""
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
from models.compression.quantization import AVERAGING, Observer, fake_quantised_weight
from models.networks.resnet import ResNet

WIDTHS = (8, 12, 16, 24)


def toy(n, seed, classes=4):
    """Pictures [n, 3, 16, 16] whose class is which quarter is bright, and labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    x = torch.randn(n, 3, 16, 16, generator=generator)
    for i, label in enumerate(y.tolist()):
        x[i, :, 8 * (label // 2) : 8 * (label // 2) + 8, 8 * (label % 2) : 8 * (label % 2) + 8] += 1.5
    return x.contiguous(memory_format=torch.channels_last), y


def prepared(seed, classes=4):
    torch.manual_seed(seed)
    model = ResNet(classes, widths=WIDTHS)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.7)  # some below zero: the fold must turn their integers round
            nn.init.normal_(module.bias, 0, 0.3)
    return int8.prepare(model.to(memory_format=torch.channels_last))


def fine_tune(model, epochs, seed, steps=5, lr=0.02, bfloat16=False):
    """Losses of each step, as models.training.train would drive it."""
    technique, losses = int8.QuantisationAware(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for epoch in range(epochs):
        model.train()
        technique.start_epoch(epoch, epochs)
        for step in range(steps):
            x, y = toy(64, seed + 100 * epoch + step)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def trained():
    model = prepared(0)
    losses = fine_tune(model, 6, 1)
    return model.eval(), losses, int8.convert(model)


def simulated(state):
    """The integer model with torch's kernels taken out."""
    model = int8.load_int8(state)
    for module in model.modules():
        if isinstance(module, int8.Int8Conv):
            module.kernel = None
    return model


def oracle(state, x):
    """Logits of the whole network in torch's own int8 operators, activations held to 7 bits after each."""
    ops = torch.ops.quantized

    def grid(name):
        return state[f"{name}.scale"].item(), state[f"{name}.zero_point"].item()

    def bounded(q):
        return torch._make_per_tensor_quantized_tensor(q.int_repr().clamp_(max=127), q.q_scale(), q.q_zero_point())

    def weight(name):
        scales = state[f"{name}.weight_scale"].double()
        zeros = torch.zeros(len(scales), dtype=torch.long)
        return torch._make_per_channel_quantized_tensor(state[f"{name}.weight"], scales, zeros, 0)

    def conv(q, name, stride, relu):
        pad = state[f"{name}.weight"].shape[-1] // 2
        packed = ops.conv2d_prepack(weight(name), state[f"{name}.bias"], [stride] * 2, [pad] * 2, [1, 1], 1)
        return bounded((ops.conv2d_relu if relu else ops.conv2d)(q, packed, *grid(name)))

    q = bounded(torch.quantize_per_tensor(x, *grid("input"), torch.quint8))
    q = F.max_pool2d(conv(q, "conv1", 1, True), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            branch = conv(conv(q, f"{name}.conv1", stride, True), f"{name}.conv2", 1, False)
            side = conv(q, f"{name}.shortcut", stride, False) if f"{name}.shortcut.weight" in state else q
            q = bounded(ops.add_relu(branch, side, *grid(f"{name}.sum")))
    pooled = q.dequantize().double().mean((2, 3)).float()
    q = bounded(torch.quantize_per_tensor(pooled, *grid("pool"), torch.quint8))
    return bounded(ops.linear(q, ops.linear_prepack(weight("fc"), state["fc.bias"]), *grid("fc"))).dequantize()


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="torch has no fbgemm here")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_simulation_gives_the_logits_of_torchs_int8_kernels(seed, monkeypatch):
    model = prepared(seed, classes=10)
    fine_tune(model, 3, seed, steps=2)
    state = int8.convert(model)
    x, _ = toy(400, 9)
    monkeypatch.setattr(torch.backends.quantized, "engine", "fbgemm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle(state, x)
    found = simulated(state)(x)
    assert len(found.unique()) > 20
    # Convolutions and the classifier agree exactly. torch's add_relu, in float32, now and then rounds a residual sum
    # next to a tie to the farther integer (59.499993 to 60), and that picture's logits may move: 1 of 1,200 here.
    assert (found != expected).any(1).float().mean() <= 0.01


def test_fast_path_equals_the_simulation_and_warns_of_nothing(trained):
    x, _ = toy(300, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = int8.load_int8(trained[2])
        logits = model(x)
    if "fbgemm" in torch.backends.quantized.supported_engines:
        assert model.backend == "torch-int8" and model.conv1.kernel is not None
    assert torch.equal(logits, simulated(trained[2])(x))
    assert logits.dtype == torch.float32 and logits.shape == (300, 4)


@pytest.mark.parametrize("failure", [RuntimeError, AttributeError, None])
def test_falls_back_to_the_simulation(trained, monkeypatch, failure):
    def broken(layer, a):
        if failure:
            raise failure("no such kernel")
        return torch.zeros_like(int8.to_steps(layer.sums(a).float()))

    monkeypatch.setattr(int8.Int8Conv, "_fast", broken)
    engine, x = torch.backends.quantized.engine, toy(20, 3)[0]
    model = int8.load_int8(trained[2])
    assert model.backend == "simulation" and torch.backends.quantized.engine == engine
    assert torch.equal(model(x), simulated(trained[2])(x))


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
    source = int8.Grid(state, "input" if name == "conv1" else "layer1.1.sum")
    source.zero_point += 5  # off the usual 0, so that padding has to stand for the value 0
    layer = int8.Int8Conv(state, name, source, stride)
    weight = state[f"{name}.weight"].numpy()
    a = torch.randint(128, (3, 9, 9, weight.shape[1]), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    expected = plain_int64(a.numpy(), weight, source.zero_point, stride)
    outputs = []
    for wide, dtype in ((False, torch.float32), (True, torch.float64)):
        layer.wide = wide
        assert layer.sums(a).dtype == dtype
        assert np.array_equal(layer.sums(a).numpy().astype(np.int64), expected)
        outputs.append(layer(a).numpy())
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
        assert np.array_equal(int8.sum_bound(weight, zero_point).numpy(), reached)
    state = dict(trained[2])
    shape = (2, 1100, 1, 1)  # 1100·127·127 is above 2^24, 1000·127·127 below
    state |= {"conv1.weight": torch.full(shape, 127, dtype=torch.int8), "conv1.weight_scale": torch.ones(2),
              "conv1.bias": torch.zeros(2)}
    source = int8.Grid(state, "pool")
    layer = int8.Int8Conv(state, "conv1", source, 1)
    a = torch.full((1, 1, 1, 1100), 127, dtype=torch.uint8)
    a[0, 0, 0, 0] = 126
    assert layer.wide and layer.sums(a).dtype == torch.float64
    assert layer.sums(a)[0, 0, 0].tolist() == [1100 * 127 * 127 - 127] * 2
    state["conv1.weight"] = state["conv1.weight"][:, :1000]
    assert not int8.Int8Conv(state, "conv1", source, 1).wide


def test_autocast_and_low_precision_settings_change_nothing(trained):
    model, x = simulated(trained[2]), toy(40, 4)[0]
    expected, before = model(x), torch.get_float32_matmul_precision()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(x), expected) and model(x).dtype == torch.float32
    try:
        torch.set_float32_matmul_precision("medium")
        assert model.conv1.sums(torch.ones(1, 4, 4, 3, dtype=torch.uint8)).dtype == torch.float64
        assert torch.equal(model(x), expected)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(model(x.bfloat16().float()), torch.cat([model(row[None].bfloat16().float()) for row in x]))


def test_activations_are_integers_of_seven_bits(trained):
    model, seen = simulated(trained[2]), []
    for module in model.modules():
        if isinstance(module, int8.Int8Conv | int8.Int8Block):
            module.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    logits = model(10 * toy(int8.CHUNK["cpu"], 5)[0])
    assert len(seen) == 2 * (21 + 8)
    assert all(a.dtype == torch.uint8 and a.max() <= 127 for a in seen)
    assert max(a.max() for a in seen) == 127
    steps = logits / model.fc.grid.scale
    assert torch.allclose(steps, steps.round(), atol=1e-4)


def test_file_holds_int8_weights_and_gives_the_same_logits_in_another_process(trained, tmp_path):
    state, x = trained[2], toy(30, 6)[0]
    torch.save(state, tmp_path / "weights.pt")
    torch.save(x, tmp_path / "x.pt")
    program = ("import sys, torch; from models.compression.int8 import load_int8; "
               "load = lambda name: torch.load(f'{sys.argv[1]}/{name}.pt', weights_only=True); "
               "torch.save(load_int8(load('weights'))(load('x')), f'{sys.argv[1]}/logits.pt')")
    done = subprocess.run([sys.executable, "-W", "error", "-c", program, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    assert torch.equal(logits, int8.load_int8(state)(x)) and len(logits.unique()) > 10
    weights = {name: tensor for name, tensor in state.items() if name.endswith(".weight")}
    assert len(weights) == 21 and all(w.dtype == torch.int8 for w in weights.values())
    assert all(w.flatten(1).int().abs().amax(1).eq(127).all() for w in weights.values())


def test_training_model_stays_close_to_the_converted_one(trained):
    model, _, state = trained
    x, y = toy(300, 7)
    with torch.no_grad():
        apart = (model(x) - int8.load_int8(state)(x)).abs() / state["fc.scale"]
    assert apart.max() < 10.5 and apart.mean() < 1
    assert (int8.load_int8(state)(x).argmax(1) == y).float().mean() > 0.8


def test_folding_equals_convolution_then_batch_norm(trained):
    model, _, state = trained
    for name, layer in (("conv1", model.conv1), ("layer2.0.shortcut", model.layer2[0].shortcut)):
        assert (layer.bn.weight < 0).any()
        x = torch.randn(2, layer.conv.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
        weight = state[f"{name}.weight"].float() * state[f"{name}.weight_scale"].view(-1, 1, 1, 1)
        folded = F.conv2d(x, weight, state[f"{name}.bias"], layer.conv.stride, layer.conv.padding)
        with torch.no_grad():
            unfolded = layer.bn(F.conv2d(x, fake_quantised_weight(layer.conv.weight), None, layer.conv.stride,
                                         layer.conv.padding))
        assert torch.allclose(folded, unfolded, atol=1e-4)


def test_a_silent_channel_becomes_its_bias(trained):
    model = copy.deepcopy(trained[0])
    nn.init.zeros_(model.conv1.bn.weight)
    state = int8.convert(model)
    assert state["conv1.weight"].count_nonzero() == 0
    assert all(tensor.isfinite().all() for tensor in state.values())
    x = toy(8, 3)[0]
    logits = int8.load_int8(state)(x)
    assert logits.isfinite().all() and len(logits.unique(dim=0)) == 1


def test_statistics_stand_in_the_last_third_and_move_before():
    model = prepared(3)
    technique, x = int8.QuantisationAware(model), toy(32, 8)[0]
    moved = []
    for epoch in range(7):
        model.train()
        technique.start_epoch(epoch, 7)
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model((1 + epoch) * x)
        changed = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}
        moved.append(len(changed))
        assert not changed or {"input.high", "fc.observer.low", "layer1.0.sum.high",
                               "layer4.1.conv2.bn.running_var"} <= changed
    assert all(moved[:5]) and moved[5:] == [0, 0]
    assert model.training and model.dropout.training


@pytest.mark.parametrize("epochs", [1, 2])
def test_short_trainings_observe_to_their_end(epochs):
    model = prepared(4)
    fine_tune(model, epochs, 1, steps=1)
    assert all(module.training for module in model.modules() if isinstance(module, Observer | nn.BatchNorm2d))
    assert int8.load_int8(int8.convert(model))(toy(5, 1)[0]).isfinite().all()


def test_conversion_needs_data():
    with pytest.raises(CompLeakError, match="seen no finite data"):
        int8.convert(prepared(0))


def test_observer_averages_ranges_and_gradient_stops_where_clipped():
    observer = Observer(signed=True)
    observer(torch.tensor([-1.0, 3.0]))
    assert (observer.low.item(), observer.high.item()) == (-1, 3)
    observer(torch.tensor([-2.0, 5.0]))
    assert observer.low.item() == pytest.approx(-1 - AVERAGING)
    assert observer.high.item() == pytest.approx(3 + 2 * AVERAGING)
    scale, zero_point = observer.eval().grid()
    x = torch.tensor([-9.0, 0.0, 0.4, 1.7, 9.0], requires_grad=True)
    y = observer(x)
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    expected = torch.fake_quantize_per_tensor_affine(x.detach(), scale.item(), int(zero_point), 0, 127)
    assert torch.allclose(y, expected, atol=1e-6) and y[1] == 0
    assert (observer.low.item(), observer.high.item()) == (pytest.approx(-1.01), pytest.approx(3.02))


def test_weights_lie_on_the_grid_of_torchs_fake_quantisation():
    w = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    scale = w.abs().amax((1, 2, 3)) / 127
    expected = torch.fake_quantize_per_channel_affine(w, scale, torch.zeros(5, dtype=torch.int32), 0, -127, 127)
    assert torch.allclose(fake_quantised_weight(w), expected, atol=1e-6)
    assert all(len(channel.unique()) <= 36 and not torch.equal(channel, raw)
               for channel, raw in zip(fake_quantised_weight(w), w, strict=True))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_training_lowers_the_loss_and_moves_every_weight(bfloat16):
    model = prepared(5)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    losses = fine_tune(model, 3, 1, steps=8, bfloat16=bfloat16)
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    assert not [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values() if tensor.is_floating_point())


def test_training_goes_on_from_its_state():
    whole = prepared(6)
    fine_tune(whole, 1, 1, steps=3)
    other = prepared(7)
    other.load_state_dict(whole.state_dict())
    expected, found = int8.convert(whole), int8.convert(other)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in found)


def test_prepare_leaves_the_original_alone_and_names_what_it_does_not_know():
    torch.manual_seed(0)
    original = ResNet(4, widths=WIDTHS)
    before = copy.deepcopy(original.state_dict())
    fine_tune(int8.prepare(original), 1, 1, steps=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())
    with pytest.raises(CompLeakError, match="not Linear"):
        int8.prepare(nn.Linear(2, 2))
    original.layer2[1] = nn.Identity()
    with pytest.raises(CompLeakError, match="not Identity"):
        int8.prepare(original)


def test_loading_names_a_missing_tensor(trained):
    state = {name: tensor for name, tensor in trained[2].items() if name != "layer3.0.sum.scale"}
    with pytest.raises(CompLeakError, match="layer3.0.sum.scale"):
        int8.load_int8(state)
