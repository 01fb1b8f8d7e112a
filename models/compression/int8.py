"""The int8 model: integer weights, integer activations, integer sums; the same integers on every device.

A layer's output is clamp(round((Σ w·(a − z_a) + b/(s_a·s_w)) · s_a·s_w/s_out) + z_out, 0, 127): an integer
sum, then single float32 operations in the order of fbgemm's kernels, so that those give the same integers.
"""
import warnings
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from common.errors import CompLeakError
from models.compression.quantization import STEPS, QuantisationAware, convert, prepare
from models.compression.technique import Technique
from models.training import Session

__all__ = ["Int8Model", "QuantisationAware", "convert", "load_int8", "prepare"]

EXACT = 2**24  # float32 holds every integer up to here
CHUNK = {"cpu": 25, "cuda": 250}  # pictures at a time: on a CPU the unfolded pictures should stay in its cache
CHECK = 4  # pictures that the fast kernels are checked on when a model is loaded


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


@contextmanager
def quiet():
    """Without torch's notices that its int8 tensors are deprecated: the simulation stands by where they go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Grid(nn.Module):
    """Where a tensor's integers q lie: value = scale·(q − zero point)."""

    def __init__(self, state, name):
        super().__init__()
        self.zero_point = int(state[f"{name}.zero_point"])
        self.register_buffer("scale", state[f"{name}.scale"].clone())


class Int8Conv(nn.Module):
    """One convolution with its bias: activations [n, h, w, c_in] uint8 → [n, h', w', c_out] uint8.

    A ReLU needs no step of its own: its output has zero point 0, so clamping to 0..127 is the ReLU.
    """

    def __init__(self, state, name, source, stride):
        super().__init__()
        weight = state[f"{name}.weight"]
        if weight.dtype != torch.int8 or weight.dim() not in (2, 4):
            raise CompLeakError(f"{name}.weight: expected int8 of 2 or 4 dimensions, found {weight.dtype}")
        self.weight = weight if weight.dim() == 4 else weight[:, :, None, None]
        self.source, self.stride, self.size = source, stride, self.weight.shape[-1]
        self.grid = Grid(state, name)
        self.wide = bool((sum_bound(self.weight, source.zero_point) >= EXACT).any())
        self.weight_scale, self.float_bias = state[f"{name}.weight_scale"], state[f"{name}.bias"]
        both = source.scale * self.weight_scale
        self.register_buffer("bias", self.float_bias / both)
        self.register_buffer("factor", both / self.grid.scale)
        # [k·k·c_in, c_out], in the order in which `unfold` lays out a picture's patches
        self.register_buffer("matrix", self.weight.permute(2, 3, 1, 0).flatten(0, 2).float().contiguous())
        self.kernel = None

    def forward(self, a):
        if self.kernel is not None and a.device.type == "cpu":
            return self._fast(a)
        total = self.sums(a).float()
        return to_steps(total.add_(self.bias).mul_(self.factor), self.grid.zero_point)

    def sums(self, a):
        """Σ w·(a − zero point) [n, h', w', c_out]: integers, in float32 or float64, exact."""
        dtype = torch.float64 if self.wide or not float32_is_exact(a.device) else torch.float32
        a = a.to(dtype).sub_(self.source.zero_point)
        return unfold(a, self.size, self.stride) @ self.matrix.to(dtype)

    def pack_kernel(self):
        """Give the weights to torch's int8 kernel; RuntimeError where this torch or CPU has none."""
        scales, zeros = self.weight_scale.double(), torch.zeros(len(self.weight), dtype=torch.long)
        weight = torch._make_per_channel_quantized_tensor(self.weight.contiguous(), scales, zeros, 0)
        stride, padding = [self.stride] * 2, [self.size // 2] * 2
        self.kernel = torch.ops.quantized.conv2d_prepack(weight, self.float_bias, stride, padding, [1, 1], 1)

    def _fast(self, a):
        a = torch._make_per_tensor_quantized_tensor(a.permute(0, 3, 1, 2), self.source.scale.item(),
                                                    self.source.zero_point)
        out = torch.ops.quantized.conv2d(a, self.kernel, self.grid.scale.item(), self.grid.zero_point)
        # The kernel goes on to 255.
        return out.int_repr().permute(0, 2, 3, 1).clamp_(max=STEPS)


def unfold(a, size, stride):
    """Patches of a [n, h, w, c], zero-padded to keep its size: [n, h', w', size·size·c] (im2col)."""
    pad = size // 2
    patches = F.pad(a, (0, 0, pad, pad, pad, pad)).unfold(1, size, stride).unfold(2, size, stride)
    return patches.permute(0, 1, 2, 4, 5, 3).flatten(3)


def max_pool(a):
    """3×3 maximum with stride 2 and padding 1 of [n, h, w, c] uint8; padding with 0, the smallest, changes none."""
    for dim, pad in ((1, (0, 0, 0, 0, 1, 1)), (2, (0, 0, 1, 1))):
        windows = F.pad(a, pad).unfold(dim, 3, 2)
        a = windows[..., 0].maximum(windows[..., 1]).maximum(windows[..., 2])
    return a


class Int8Block(nn.Module):
    """A basic block on integers: [n, h, w, c_in] uint8 → [n, h/stride, w/stride, c_out] uint8."""

    def __init__(self, state, name, source, stride):
        super().__init__()
        self.conv1 = Int8Conv(state, f"{name}.conv1", source, stride)
        self.conv2 = Int8Conv(state, f"{name}.conv2", self.conv1.grid, 1)
        self.shortcut = None
        if f"{name}.shortcut.weight" in state:
            self.shortcut = Int8Conv(state, f"{name}.shortcut", source, stride)
        self.other = self.shortcut.grid if self.shortcut else source
        self.grid = Grid(state, f"{name}.sum")

    def forward(self, a):
        branch = self._value(self.conv2(self.conv1(a)), self.conv2.grid)
        total = branch.add_(self._value(self.shortcut(a) if self.shortcut else a, self.other))
        return to_steps(total.mul_(1 / self.grid.scale))

    @staticmethod
    def _value(a, grid):
        return a.float().sub_(grid.zero_point).mul_(grid.scale)


class Int8Model(nn.Module):
    """The converted ResNet: normalised pictures [n, 3, h, w] float → logits [n, c] float32, no gradients.

    state: what `convert` gave. `backend` says what computes the convolutions on a CPU: "torch-int8", torch's kernels,
    where they gave the simulation's integers in a check at loading, or "simulation", which every other device runs.
    """

    def __init__(self, state):
        super().__init__()
        self.input = Grid(state, "input")
        self.conv1 = Int8Conv(state, "conv1", self.input, 1)
        blocks, grid = [], self.conv1.grid
        for stage in range(1, 5):
            number = 0
            while f"layer{stage}.{number}.conv1.weight" in state:
                stride = 2 if stage > 1 and number == 0 else 1
                blocks.append(Int8Block(state, f"layer{stage}.{number}", grid, stride))
                grid, number = blocks[-1].grid, number + 1
        self.blocks = nn.Sequential(*blocks)
        self.pooled, self.pool = grid, Grid(state, "pool")
        self.fc = Int8Conv(state, "fc", self.pool, 1)
        self.backend = "simulation"

    @torch.no_grad()
    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False), quiet():
            return torch.cat([self._logits(some) for some in x.split(CHUNK.get(x.device.type, 25))])

    def _logits(self, x):
        steps = x.permute(0, 2, 3, 1).float() * (1 / self.input.scale)
        a = self.blocks(max_pool(self.conv1(to_steps(steps, self.input.zero_point))))
        factor = self.pooled.scale / self.pool.scale / (a.shape[1] * a.shape[2])
        a = to_steps(a.sum((1, 2), keepdim=True).float().mul_(factor))
        logits = self.fc(a)[:, 0, 0]
        return logits.float().sub_(self.fc.grid.zero_point).mul_(self.fc.grid.scale)


def load_int8(state):
    """The Int8Model, in evaluation mode on the CPU, of what `convert` gave; CompLeakError where tensors are missing."""
    try:
        model = Int8Model(state).eval()
    except KeyError as error:
        raise CompLeakError(f"the int8 model lacks {error}: quantise the model again") from error
    _use_kernels(model)
    return model


def _use_kernels(model):
    """Switch to torch's int8 kernels where they give exactly the simulation's integers on a few pictures."""
    layers = [module for module in model.modules() if isinstance(module, Int8Conv) and module is not model.fc]
    pictures = torch.randn(CHECK, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected, engine = model(pictures), torch.backends.quantized.engine
    try:
        with quiet():
            torch.backends.quantized.engine = "fbgemm"
            for layer in layers:
                layer.pack_kernel()
            agree = all(_agrees(layer) for layer in layers) and torch.equal(model(pictures), expected)
    except (RuntimeError, AttributeError, NotImplementedError):
        agree = False
    finally:
        with quiet():
            torch.backends.quantized.engine = engine
    if agree:
        model.backend = "torch-int8"
    else:
        for layer in layers:
            layer.kernel = None


def _agrees(layer):
    """Whether kernel and simulation give the same integers on random ones, and the largest sums do not saturate."""
    shape = (2, 5, 5, layer.weight.shape[1])
    a = torch.randint(STEPS + 1, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    a[1] = STEPS
    kernel, fast = layer.kernel, layer(a)
    layer.kernel = None
    slow = layer(a)
    layer.kernel = kernel
    return torch.equal(fast, slow)


class Quantization(Technique):
    name, script, degree_flag, epochs_flag = "quantization", "quantization/qat.py", "--degree", "--quantized_epochs"
    adjective, degrees, allowed = "quantised", ("int8",), "int8"

    def describe(self, degree):
        return "8 bits a weight and activation"

    def short(self, degree):
        return degree

    def start(self, model, degree):
        model = prepare(model)
        return Session(model, QuantisationAware(model), convert)

    def load(self, tensors, degree, build):
        return load_int8(tensors)


QUANTIZATION = Quantization()
