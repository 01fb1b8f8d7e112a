"""Quantisation-aware training of a network, and its conversion to integers (Jacob et al., CVPR 2018, section 3)."""
import torch
from torch import nn
from torch.func import functional_call

from common.errors import CompLeakError
from models.networks.rebuild import rebuild
from models.networks.units import Norm
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


class QuantisedLayer(nn.Module):
    """A convolution and its Norm (or None), or a linear layer: int8 weights and 7-bit outputs, in floating point."""

    def __init__(self, layer, norm=None):
        super().__init__()
        self.layer, self.bn = layer, norm
        self.observer = Observer(signed=norm is None or norm.act is None)

    def forward(self, x):
        y = functional_call(self.layer, {"weight": fake_quantised_weight(self.layer.weight)}, (x,))
        # A pool in the Norm gives the same values as rounding first, for a quarter of the rounding.
        return self.observer(self.bn(y) if self.bn else y)

    def packed(self):
        scale = weight_scale(self.layer.weight)
        steps = (self.layer.weight.detach() / scale).round().contiguous()
        return {**folded(steps, scale.flatten(), self.layer.bias, self.bn), **packed_grid(self.observer)}


class QuantisedNorm(nn.Module):
    """A Norm that no convolution feeds: in integers a depthwise 1×1 convolution whose weights are 1 or -1 steps."""

    def __init__(self, norm):
        super().__init__()
        self.bn = norm
        self.observer = Observer(signed=norm.act is None)

    def forward(self, x):
        return self.observer(self.bn(x))

    def packed(self):
        ones = torch.ones_like(self.bn.running_var)
        return {**folded(ones.view(-1, 1, 1, 1), ones, None, self.bn), **packed_grid(self.observer)}


class Observed(Observer):
    """A unit without weights (input, sum, concatenation, average) and the grid of what it gives."""

    def __init__(self, unit):
        super().__init__(signed=not getattr(unit, "relu", False))
        self.unit = unit

    def forward(self, *given):
        return super().forward(self.unit(*given))

    def packed(self):
        return packed_grid(self)


def folded(steps, scale, bias, norm):
    """{weight int8, weight_scale, bias float32 [out]} of norm(steps·scale + bias), with BatchNorm's running statistics.

    steps float32 [out, …], scale float32 [out], bias float32 [out] or None, norm a Norm or None.
    """
    bias = torch.zeros_like(scale) if bias is None else bias.detach()
    if norm is not None:
        factor = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.detach().double() + (bias.double() - norm.running_mean.double()) * factor
        scale = scale.double() * factor
        silent = scale.abs() < SMALLEST
        steps = steps * factor.sign().float().masked_fill(silent, 0).view(-1, 1, 1, 1)
        scale = scale.abs().masked_fill(silent, 1)
    return {"weight": steps.to(torch.int8), "weight_scale": scale.float(), "bias": bias.float()}


def packed_grid(observer):
    """{scale float32, zero_point int32} of an observer, each without dimensions; CompLeakError if it saw no data."""
    if not observer.high.isfinite():
        raise CompLeakError("the quantised model has seen no finite data: train it for at least one step first")
    scale, zero_point = observer.grid()
    return {"scale": scale, "zero_point": zero_point.int()}


def prepare(network):
    """A trainable network of the quantisation-aware units, its weights a copy of `network`'s.

    CompLeakError where its int8 form would not compute the same: see `rebuild` and `check_geometry`.
    """
    return rebuild(network, _quantised)


def _quantised(name, unit, norm):
    if isinstance(unit, nn.Conv2d):
        check_geometry(name, unit)
    if isinstance(unit, nn.Conv2d | nn.Linear):
        return QuantisedLayer(unit, norm)
    if isinstance(unit, Norm):
        return QuantisedNorm(unit)
    return unit if isinstance(unit, nn.Dropout) else Observed(unit)


def check_geometry(name, conv):
    """CompLeakError for a convolution that the int8 form cannot do: kernels must be square, padded with zeros."""
    for what in ("kernel_size", "stride", "padding", "dilation"):
        value = getattr(conv, what)
        if isinstance(value, str) or len(set(value)) != 1:
            raise CompLeakError(f"int8 quantisation needs a square {what} in numbers, not {value!r} ({name})")
    if conv.padding_mode != "zeros":
        raise CompLeakError(f"int8 quantisation pads with zeros, not {conv.padding_mode!r} ({name})")


class QuantisationAware(Hooks):
    """Freezes a prepared model's observers and BatchNorm statistics for the last floor(epochs / 3) epochs."""

    def __init__(self, model):
        self.model = model

    def start_epoch(self, epoch, epochs):
        if epoch >= epochs - epochs // 3:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d | Observer):
                    module.eval()


@torch.no_grad()
def convert(model):
    """The integer tensors by name, on the CPU, of a prepared and trained network.

    A unit with weights (conv1, layer1.0.conv2, layer2.0.shortcut, fc, …) gives weight int8, weight_scale and bias
    float32 [out], and like every unit (input, layer1.0.sum, pool, …) its output's scale (float32) and zero_point
    (int32).
    """
    units = {name: module for name, module in model.named_modules()
             if isinstance(module, QuantisedLayer | QuantisedNorm | Observed)}
    return {f"{name}.{key}": value.cpu() for name, unit in units.items() for key, value in unit.packed().items()}
