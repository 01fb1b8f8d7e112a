"""The units of an int8 network: integers in, integers out, the same ones on every device.

A convolution's output is clamp(round((Σ w·(a − z_a) + b/(s_a·s_w)) · s_a·s_w/s_out) + z_out, 0, 127): an integer
sum, then single float32 operations in the order of fbgemm's kernels, so that those give the same integers.
"""
import warnings
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from common.errors import CompLeakError
from models.compression.quantization import STEPS

EXACT = 2**24  # float32 holds every integer up to here


def to_steps(value, zero_point=0):
    """float32 [...] in output steps → the activation uint8 in 0..127; ties to even, then clamped. Changes `value`."""
    return value.round_().add_(zero_point).clamp_(0, STEPS).to(torch.uint8)


def sum_bound(weight, zero_point):
    """The largest magnitude [out] int64 that any partial sum of w·(a − zero point) can reach, a in 0..127.

    weight [out, ...] int8. A partial sum in any order lies between the sum of the negative terms and of the positive.
    """
    rows = weight.flatten(1).long()
    above, below = rows.clamp(min=0).sum(1), -rows.clamp(max=0).sum(1)
    most, least = STEPS - zero_point, zero_point
    return torch.maximum(above * most + below * least, above * least + below * most)


def float32_is_exact(device):
    """Whether a float32 matrix product multiplies in float32 (no TF32 or bfloat16) as torch is set now."""
    try:
        return torch.get_float32_matmul_precision() == "highest" and not (
            device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32)
    except RuntimeError:  # torch refuses to answer when its old and new settings were mixed
        return False


def quiet():
    """Without torch's notices that its int8 tensors are deprecated: the simulation stands by where they go."""
    return warnings.catch_warnings(action="ignore")


class Grid(nn.Module):
    """Where a tensor's integers q lie: value = scale·(q − zero point)."""

    def __init__(self, state, name):
        super().__init__()
        self.zero_point = int(state[f"{name}.zero_point"])
        self.register_buffer("scale", state[f"{name}.scale"].clone())

    def values(self, q):
        """uint8 [...] → float32 [...]."""
        return q.float().sub_(self.zero_point).mul_(self.scale)

    def steps(self, values):
        """float32 [...] → the nearest integers on the grid, uint8 [...]."""
        return to_steps(values * (1 / self.scale), self.zero_point)


@dataclass(frozen=True)
class Activation:
    """What the units hand on: integers q [n, h, w, c] uint8 in 0..127, and the Grid that they lie on."""

    q: torch.Tensor
    grid: Grid


class Int8Unit(nn.Module):
    """A unit without weights: what it gives has the grid of its name."""

    def __init__(self, state, name):
        super().__init__()
        self.grid = Grid(state, name)


class Int8Input(Int8Unit):
    """Normalised pictures [n, 3, h, w] float → Activation."""

    def forward(self, x):
        return Activation(self.grid.steps(x.permute(0, 2, 3, 1).float()), self.grid)


class Int8Sum(Int8Unit):
    """The residual sum. A ReLU needs no step of its own: see Int8Conv."""

    def forward(self, a, b):
        return Activation(self.grid.steps(a.grid.values(a.q).add_(b.grid.values(b.q))), self.grid)


class Int8Concat(Int8Unit):
    """Activations side by side, each requantised from its own scale to the one of the whole."""

    def forward(self, parts):
        return Activation(torch.cat([self.grid.steps(part.grid.values(part.q)) for part in parts], 3), self.grid)


class Int8Average(Int8Unit):
    """The mean of whole maps, [n, 1, 1, c], or of the windows of `unit`, an Average."""

    def __init__(self, state, name, unit):
        super().__init__(state, name)
        self.unit = unit

    def forward(self, a):
        if self.unit.size is None:
            total, count = a.q.sum((1, 2), keepdim=True), a.q.shape[1] * a.q.shape[2]
        else:
            side = self.unit.window(*a.q.shape[1:3])
            total, count = a.q.unfold(1, side, side).unfold(2, side, side).sum((4, 5)), side * side
        total.sub_(count * a.grid.zero_point)
        return Activation(to_steps(total.float().mul_(a.grid.scale / self.grid.scale / count), self.grid.zero_point),
                          self.grid)


class Int8Conv(nn.Module):
    """One convolution with its bias, then a max-pool (or None): Activation of c_in channels → of c_out.

    A linear layer is a 1×1 convolution, a Norm of its own a depthwise one. A ReLU needs no step: its output has zero
    point 0, so clamping to 0..127 is the ReLU; and a ReLU6's range ends at 6 or below, so clamping is the ReLU6.
    geometry: stride, padding, dilation and groups. The grid of the input is learnt at the first call, in `load_int8`.
    """

    def __init__(self, state, name, geometry=(1, 0, 1, 1), pool=None):
        super().__init__()
        weight = state[f"{name}.weight"]
        if weight.dtype != torch.int8 or weight.dim() not in (2, 4):
            raise CompLeakError(f"{name}.weight: expected int8 of 2 or 4 dimensions, found {weight.dtype}")
        self.weight = weight if weight.dim() == 4 else weight[:, :, None, None]
        self.geometry, self.pool = geometry, pool
        self.weight_scale, self.float_bias = state[f"{name}.weight_scale"], state[f"{name}.bias"]
        # [groups, k·k·c_in/groups, c_out/groups], in the order in which `unfold` lays out a picture's patches
        matrix = self.weight.permute(2, 3, 1, 0).flatten(0, 2).float().unflatten(1, (geometry[3], -1))
        self.register_buffer("matrix", matrix.transpose(0, 1).contiguous())
        self.grid, self.source, self.kernel = Grid(state, name), None, None

    def bind(self, source):
        """Settle what follows from the input's Grid."""
        self.source = source
        self.wide = bool((sum_bound(self.weight, source.zero_point) >= EXACT).any())
        both = source.scale * self.weight_scale
        self.register_buffer("bias", self.float_bias / both)
        self.register_buffer("factor", both / self.grid.scale)

    def forward(self, a):
        if self.source is None:
            self.bind(a.grid)
        assert a.grid is self.source
        fast = self.kernel is not None and a.q.device.type == "cpu"
        q = self._fast(a.q) if fast else self._exact(a.q)
        if self.pool:  # of integers in float32, which are exact there
            q = self.pool(q.permute(0, 3, 1, 2).float()).to(torch.uint8).permute(0, 2, 3, 1)
        return Activation(q, self.grid)

    def _exact(self, q):
        return to_steps(self.sums(q).float().add_(self.bias).mul_(self.factor), self.grid.zero_point)

    def sums(self, q):
        """Σ w·(a − zero point) [n, h', w', c_out]: integers, in float32 or float64, exact."""
        dtype = torch.float64 if self.wide or not float32_is_exact(q.device) else torch.float32
        stride, padding, dilation, groups = self.geometry
        matrix = self.matrix.to(dtype)
        patches = unfold(q.to(dtype).sub_(self.source.zero_point), self.weight.shape[-1], stride, padding, dilation)
        if groups == 1:
            return patches.flatten(3) @ matrix[0]
        patches = patches.unflatten(4, (groups, -1)).transpose(3, 4)  # [n, h', w', groups, k·k, c_in/groups]
        return torch.einsum("nhwgi,gio->nhwgo", patches.flatten(4), matrix).flatten(3)

    def pack_kernel(self):
        """Give the weights to torch's int8 kernel; RuntimeError where this torch or CPU has none."""
        scales, zeros = self.weight_scale.double(), torch.zeros(len(self.weight), dtype=torch.long)
        weight = torch._make_per_channel_quantized_tensor(self.weight.contiguous(), scales, zeros, 0)
        stride, padding, dilation, groups = self.geometry
        self.kernel = torch.ops.quantized.conv2d_prepack(weight, self.float_bias, [stride] * 2, [padding] * 2,
                                                         [dilation] * 2, groups)

    def _fast(self, q):
        q = torch._make_per_tensor_quantized_tensor(q.permute(0, 3, 1, 2), self.source.scale.item(),
                                                    self.source.zero_point)
        out = torch.ops.quantized.conv2d(q, self.kernel, self.grid.scale.item(), self.grid.zero_point)
        # The kernel goes on to 255.
        return out.int_repr().permute(0, 2, 3, 1).clamp_(max=STEPS)


def unfold(a, size, stride, padding, dilation):
    """The patches of a [n, h, w, c] that a kernel of size×size meets: [n, h', w', size·size, c] (im2col)."""
    span = dilation * (size - 1) + 1
    patches = F.pad(a, (0, 0, *[padding] * 4)).unfold(1, span, stride).unfold(2, span, stride)
    return patches[..., ::dilation, ::dilation].permute(0, 1, 2, 4, 5, 3).flatten(3, 4)
