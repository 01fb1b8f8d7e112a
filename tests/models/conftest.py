"""What the int8 tests share: toy pictures, a short training, and torch's own int8 operators as an oracle."""
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.compression import int8
from models.networks.resnet import ResNet

OPS = torch.ops.quantized


def pictures(n, seed, classes=4):
    """Pictures [n, 3, 16, 16] whose class is which quarter is bright, and labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    x = torch.randn(n, 3, 16, 16, generator=generator)
    for i, label in enumerate(y.tolist()):
        x[i, :, 8 * (label // 2) : 8 * (label // 2) + 8, 8 * (label % 2) : 8 * (label % 2) + 8] += 1.5
    return x.contiguous(memory_format=torch.channels_last), y


def prepared(network, spread=0.7):
    """The network ready for quantisation-aware training, its Norms off their first values."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, spread)  # some below zero: the fold must turn their integers round
            nn.init.normal_(module.bias, 0, 0.3)
    return int8.prepare(network.to(memory_format=torch.channels_last))


def fine_tune(model, epochs, seed, steps=5, lr=0.02, bfloat16=False):
    """Losses of each step, as models.training.train would drive it."""
    technique, losses = int8.QuantisationAware(model), []
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for epoch in range(epochs):
        model.train()
        technique.start_epoch(epoch, epochs)
        for step in range(steps):
            x, y = pictures(64, seed + 100 * epoch + step)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def simulated(state, network):
    """The integer model with torch's kernels taken out."""
    model = int8.load_int8(state, network)
    for module in model.modules():
        if isinstance(module, int8.Int8Conv):
            module.kernel = None
    return model


class TorchInt8:
    """torch's int8 operators on the tensors that `convert` gave, activations held to 7 bits after each."""

    def __init__(self, state):
        self.state = state

    def grid(self, name):
        return self.state[f"{name}.scale"].item(), self.state[f"{name}.zero_point"].item()

    @staticmethod
    def bounded(q):
        return torch._make_per_tensor_quantized_tensor(q.int_repr().clamp_(max=127), q.q_scale(), q.q_zero_point())

    def weight(self, name):
        scales = self.state[f"{name}.weight_scale"].double()
        zeros = torch.zeros(len(scales), dtype=torch.long)
        return torch._make_per_channel_quantized_tensor(self.state[f"{name}.weight"], scales, zeros, 0)

    def quantise(self, x, name):
        return self.bounded(torch.quantize_per_tensor(x, *self.grid(name), torch.quint8))

    def conv(self, q, name, relu, stride=1, padding=None, dilation=1, groups=1):
        padding = self.state[f"{name}.weight"].shape[-1] // 2 if padding is None else padding
        packed = OPS.conv2d_prepack(self.weight(name), self.state[f"{name}.bias"], [stride] * 2, [padding] * 2,
                                    [dilation] * 2, groups)
        return self.bounded((OPS.conv2d_relu if relu else OPS.conv2d)(q, packed, *self.grid(name)))

    def add(self, a, b, name, relu):
        return self.bounded((OPS.add_relu if relu else OPS.add)(a, b, *self.grid(name)))

    def cat(self, parts, name):
        return self.bounded(OPS.cat(parts, 1, *self.grid(name)))

    def average(self, q, name, size=None):
        x = q.dequantize().double()
        return self.quantise((x.mean((2, 3)) if size is None else F.avg_pool2d(x, size)).float(), name)

    def linear(self, q, name):
        packed = OPS.linear_prepack(self.weight(name), self.state[f"{name}.bias"])
        return self.bounded(OPS.linear(q, packed, *self.grid(name)))


def narrow(seed=0, classes=4):
    """A ResNet-18 of few channels."""
    torch.manual_seed(seed)
    return ResNet(classes, widths=(8, 12, 16, 24))


@pytest.fixture(scope="session")
def toys():
    """The functions above."""
    return SimpleNamespace(pictures=pictures, prepared=prepared, fine_tune=fine_tune, simulated=simulated,
                           narrow=narrow)


@pytest.fixture(scope="session")
def trained():
    """A narrow ResNet-18 made int8: (trained model, losses of the steps, converted tensors)."""
    model = prepared(narrow())
    losses = fine_tune(model, 6, 1)
    return model.eval(), losses, int8.convert(model)


@pytest.fixture
def torch_int8(monkeypatch):
    """TorchInt8 with the fbgemm kernels chosen and their deprecation notices silenced; skips where torch lacks them."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("torch has no fbgemm here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setattr(torch.backends.quantized, "engine", "fbgemm")
        yield TorchInt8
