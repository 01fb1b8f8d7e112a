"""Quantisation-aware training of the ResNet, and its conversion to integers (Jacob et al., CVPR 2018, section 3)."""
import copy

import torch
from torch import nn
from torch.nn import functional as F

from common.errors import CompLeakError
from models.networks.resnet import BasicBlock, ResNet
from models.training import Hooks

STEPS = 127  # activations 0..127 (two products of 7 and 8 bits fit in the int16 of older CPUs), weights -127..127
AVERAGING = 0.01  # weight of a batch's range in the moving average
SMALLEST = 1e-12  # a channel or activation this small is zero; keeps every scale and its inverse finite


class FakeQuantise(torch.autograd.Function):
    """x rounded to the grid scale·{low, …, high}; gradients pass straight through, except where x was clipped.

    scale, low, high are tensors that broadcast over x; computed in float32, returned in x's type.
    """

    @staticmethod
    def forward(ctx, x, scale, low, high):
        steps = (x.float() / scale).round_()
        clipped = steps.clamp(low, high)
        ctx.save_for_backward(steps == clipped)
        return clipped.mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None, None, None


class Observer(nn.Module):
    """Puts activations on a per-tensor affine grid of 7 bits, its range the moving average of each batch's.

    In training mode the range follows the data; in evaluation mode it stands. signed: whether values below zero occur.
    """

    def __init__(self, signed):
        super().__init__()
        self.signed = signed
        self.register_buffer("low", torch.tensor(torch.inf if signed else 0.0))
        self.register_buffer("high", torch.tensor(-torch.inf))

    def grid(self):
        """(scale float32, zero point float32) of the range, stretched to hold 0: value = scale·(q − zero point)."""
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        scale = ((high - low) / STEPS).clamp(min=SMALLEST)
        return scale, (-low / scale).round().clamp(0, STEPS)

    @torch.no_grad()
    def observe(self, x):
        if self.signed:
            self._follow(self.low, x.amin().float())
        self._follow(self.high, x.amax().float())

    @staticmethod
    def _follow(average, now):
        average.copy_(torch.where(average.isinf(), now, average + AVERAGING * (now - average)))

    def forward(self, x):
        if self.training:
            self.observe(x)
        scale, zero_point = self.grid()
        return FakeQuantise.apply(x, scale, -zero_point, STEPS - zero_point)


def weight_scale(weight):
    """Per-channel symmetric scale [out, 1, …] of a weight [out, …]: its largest magnitude is step 127."""
    return (weight.detach().abs().amax(tuple(range(1, weight.dim())), keepdim=True) / STEPS).clamp(min=SMALLEST)


def fake_quantised_weight(weight):
    """The weight on its int8 grid.

    A channel's grid follows its largest weight, so quantising weight·(γ/σ), the fold of BatchNorm, gives the same
    integers as quantising the weight and leaving γ/σ to BatchNorm: folding costs nothing until `convert` does it.
    """
    limit = weight.new_full((), STEPS)
    return FakeQuantise.apply(weight, weight_scale(weight), -limit, limit)


class QuantisedConv(nn.Module):
    """Convolution, BatchNorm and (relu) ReLU with int8 weights and 7-bit outputs, simulated in floating point."""

    def __init__(self, conv, bn, relu, pool=None):
        super().__init__()
        self.conv, self.bn, self.relu, self.pool = conv, bn, relu, pool
        self.observer = Observer(signed=not relu)

    def forward(self, x):
        y = self.bn(F.conv2d(x, fake_quantised_weight(self.conv.weight), None, self.conv.stride, self.conv.padding))
        y = F.relu(y, inplace=True) if self.relu else y
        # Pooling first gives the same values as rounding first, for a quarter of the rounding.
        return self.observer(self.pool(y) if self.pool else y)

    def packed(self):
        """{weight int8, weight_scale, bias, scale, zero_point}: BatchNorm folded in with its running statistics."""
        scale = weight_scale(self.conv.weight)
        steps = (self.conv.weight.detach() / scale).round().contiguous()
        factor = self.bn.weight.double() / (self.bn.running_var.double() + self.bn.eps).sqrt()
        bias = self.bn.bias.double() - self.bn.running_mean.double() * factor
        folded = scale.flatten().double() * factor
        silent = folded.abs() < SMALLEST
        steps *= factor.sign().float().masked_fill(silent, 0).view(-1, 1, 1, 1)
        return {"weight": steps.to(torch.int8), "weight_scale": folded.abs().masked_fill(silent, 1).float(),
                "bias": bias.float(), **packed_grid(self.observer)}


class QuantisedLinear(nn.Module):
    """The classifier with int8 weights and 7-bit logits, simulated in floating point."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear
        self.observer = Observer(signed=True)

    def forward(self, x):
        return self.observer(F.linear(x, fake_quantised_weight(self.linear.weight), self.linear.bias))

    def packed(self):
        scale = weight_scale(self.linear.weight)
        return {"weight": (self.linear.weight.detach() / scale).round().to(torch.int8).contiguous(),
                "weight_scale": scale.flatten(), "bias": self.linear.bias.detach().float(),
                **packed_grid(self.observer)}


class QuantisedBlock(nn.Module):
    """A BasicBlock whose convolutions and residual sum are quantised."""

    def __init__(self, block):
        super().__init__()
        self.conv1 = QuantisedConv(block.conv1, block.bn1, relu=True)
        self.conv2 = QuantisedConv(block.conv2, block.bn2, relu=False)
        self.shortcut = QuantisedConv(*block.shortcut, relu=False) if len(block.shortcut) else nn.Identity()
        self.sum = Observer(signed=False)

    def forward(self, x):
        return self.sum(F.relu(self.conv2(self.conv1(x)) + self.shortcut(x), inplace=True))


class QuantisedResNet(nn.Module):
    """The ResNet as its int8 version will compute it, trainable: normalised pictures [n, 3, h, w] → logits [n, c]."""

    def __init__(self, model):
        super().__init__()
        self.input = Observer(signed=True)
        self.conv1 = QuantisedConv(model.conv1, model.bn1, relu=True, pool=model.maxpool)
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            setattr(self, stage, nn.Sequential(*(QuantisedBlock(block) for block in getattr(model, stage))))
        self.pool = Observer(signed=False)
        self.dropout = model.dropout
        self.fc = QuantisedLinear(model.fc)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(self.input(x))))))
        return self.fc(self.dropout(self.pool(x.mean((2, 3)))))


def prepare(model):
    """A trainable model of `model`'s int8 version, its weights a copy; CompLeakError unless it is our ResNet."""
    strange = type(model) if not isinstance(model, ResNet) else next(
        (type(block) for stage in range(1, 5) for block in getattr(model, f"layer{stage}")
         if not isinstance(block, BasicBlock)), None)
    if strange is not None:
        raise CompLeakError(f"int8 quantisation knows ResNet with BasicBlock only, not {strange.__name__}")
    return QuantisedResNet(copy.deepcopy(model))


class QuantisationAware(Hooks):
    """Freezes a prepared model's observers and BatchNorm statistics for the last floor(epochs / 3) epochs."""

    def __init__(self, model):
        self.model = model

    def start_epoch(self, epoch, epochs):
        if epoch >= epochs - epochs // 3:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d | Observer):
                    module.eval()


def packed_grid(observer):
    """{scale float32, zero_point int32} of an observer, each without dimensions; CompLeakError if it saw no data."""
    if not observer.high.isfinite():
        raise CompLeakError("the quantised model has seen no finite data: train it for at least one step first")
    scale, zero_point = observer.grid()
    return {"scale": scale, "zero_point": zero_point.int()}


@torch.no_grad()
def convert(model):
    """The integer model of a trained QuantisedResNet, tensors by name, on the CPU.

    A layer (conv1, layer1.0.conv2, layer2.0.shortcut, fc, …) gives weight int8, weight_scale and bias float32 [out],
    and like input, layer1.0.sum and pool its output's scale (float32) and zero_point (int32). Shapes are the rest.
    """
    packed = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantisedConv | QuantisedLinear):
            parts = module.packed()
        elif isinstance(module, Observer) and not name.endswith(".observer"):
            parts = packed_grid(module)
        else:
            continue
        packed.update({f"{name}.{key}": value.cpu() for key, value in parts.items()})
    return packed
