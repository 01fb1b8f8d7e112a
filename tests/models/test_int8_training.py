"""Quantisation-aware training: ranges, grids, what stands still when, what is refused."""
import copy

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import CompLeakError
from models.compression import int8
from models.compression.quantization import AVERAGING, Observer, fake_quantised_weight
from models.networks.units import Average, Input, Norm, Sum


def test_statistics_stand_in_the_last_third_and_move_before(toys):
    model = toys.prepared(toys.narrow(3))
    technique, x = int8.QuantisationAware(model), toys.pictures(32, 8)[0]
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
def test_short_trainings_observe_to_their_end(epochs, toys):
    model = toys.prepared(toys.narrow(4))
    toys.fine_tune(model, epochs, 1, steps=1)
    assert all(module.training for module in model.modules() if isinstance(module, Observer | nn.BatchNorm2d))
    assert int8.load_int8(int8.convert(model), toys.narrow())(toys.pictures(5, 1)[0]).isfinite().all()


def test_conversion_needs_data(toys):
    with pytest.raises(CompLeakError, match="seen no finite data"):
        int8.convert(toys.prepared(toys.narrow(0)))


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
def test_training_lowers_the_loss_and_moves_every_weight(bfloat16, toys):
    model = toys.prepared(toys.narrow(5))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    losses = toys.fine_tune(model, 3, 1, steps=8, bfloat16=bfloat16)
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    assert not [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values() if tensor.is_floating_point())


def test_training_goes_on_from_its_state(toys):
    whole = toys.prepared(toys.narrow(6))
    toys.fine_tune(whole, 1, 1, steps=3)
    other = toys.prepared(toys.narrow(7))
    other.load_state_dict(whole.state_dict())
    expected, found = int8.convert(whole), int8.convert(other)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in found)


def test_prepare_leaves_the_original_alone(toys):
    original = toys.narrow()
    before = copy.deepcopy(original.state_dict())
    toys.fine_tune(int8.prepare(original), 1, 1, steps=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())


class Toy(nn.Module):
    """A network of a convolution and a linear layer, with `between` them."""

    def __init__(self, between=lambda toy, x: toy.sum(x, toy.norm(toy.other(x))), **options):
        super().__init__()
        self.other, self.norm, self.sum = nn.Conv2d(3, 3, 1), Norm(3), Sum()
        self.input, self.conv, self.pool, self.fc = Input(), nn.Conv2d(3, 3, **options), Average(), nn.Linear(3, 2)
        self.between = between

    def forward(self, x):
        return self.fc(self.pool(self.between(self, self.conv(self.input(x)))))


@pytest.mark.parametrize(("options", "says"), [
    ({"kernel_size": (3, 1)}, r"square kernel_size in numbers, not \(3, 1\) \(conv\)"),
    ({"kernel_size": 3, "stride": (1, 2)}, r"square stride in numbers, not \(1, 2\)"),
    ({"kernel_size": 3, "padding": "same"}, "square padding in numbers, not 'same'"),
    ({"kernel_size": 3, "dilation": (2, 1)}, "square dilation"),
    ({"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, "pads with zeros, not 'reflect'"),
    ({"kernel_size": 3, "between": lambda toy, x: toy.conv(x)}, r"used once, not twice \(conv\)"),
    ({"kernel_size": 3, "between": lambda toy, x: toy.sum(toy.other(x), toy.norm(x))},
     r"Norm alone, not 2 units \(conv\)"),
    ({"kernel_size": 3, "between": lambda toy, x: toy.norm(x)}, r"each unit used and not left out \(other\)"),
    ({"kernel_size": 3, "between": lambda toy, x: x + x}, "a Toy whose forward .* nothing else .add"),
    ({"kernel_size": 3, "between": lambda toy, x: x.relu()}, "does nothing else .*relu"),
    ({"kernel_size": 3, "between": lambda toy, x: torch.relu(x)}, "does nothing else .relu")])
def test_prepare_refuses_what_the_integers_cannot_do(options, says):
    with pytest.raises(CompLeakError, match=says) as refused:
        int8.prepare(Toy(**options))
    assert "\n" not in str(refused.value)


def test_preparing_leaves_the_units_of_the_original_and_of_the_copy_whole(toys):
    original, x = toys.narrow().eval(), toys.pictures(4, 1)[0]
    with torch.no_grad():
        before = original(x)
        model = int8.prepare(original)
        assert torch.equal(original(x), before) and model.train()(x).isfinite().all()
    assert int8.prepare(Toy(kernel_size=3)).train()(x).shape == (4, 2)


def test_prepare_names_what_is_not_a_unit(toys):
    with pytest.raises(CompLeakError, match="start with the unit Input, not Linear"):
        int8.prepare(nn.Linear(2, 2))
    network = toys.narrow()
    network.layer2[1] = nn.Softplus()
    with pytest.raises(CompLeakError, match=r"not Softplus \(ResNet.layer2.1\)"):
        int8.prepare(network)
