"""The int8 model: integer weights, integer activations, integer sums; wired as the network that it was made from."""
from functools import partial

import torch
from torch import nn

from common.errors import CompLeakError
from models.compression import int8_units as units
from models.compression.int8_units import Int8Conv
from models.compression.quantization import STEPS, QuantisationAware, convert, prepare
from models.compression.technique import Technique
from models.networks.rebuild import rebuild
from models.networks.units import Average, Concat, Input, Norm, Sum
from models.training import Session

__all__ = ["Int8Model", "QuantisationAware", "convert", "load_int8", "prepare"]

CHUNK = {"cpu": 25, "cuda": 250}  # pictures at a time: on a CPU the unfolded pictures should stay in its cache
CHECK = 4  # pictures that the fast kernels are checked on when a model is loaded


class Int8Model(nn.Module):
    """A network of integer units: normalised pictures [n, 3, h, w] float → logits [n, c] float32, no gradients.

    `backend` says what computes the convolutions on a CPU: "torch-int8", torch's kernels, where they gave the
    simulation's integers in a check at loading, or "simulation", which every other device runs.
    """

    def __init__(self, network):
        super().__init__()
        self.network, self.backend = network, "simulation"

    @torch.no_grad()
    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False), units.quiet():
            return torch.cat([self._logits(some) for some in x.split(CHUNK.get(x.device.type, 25))])

    def _logits(self, x):
        out = self.network(x)
        return out.grid.values(out.q).flatten(1)


def load_int8(state, network):
    """The Int8Model, in evaluation mode on the CPU, of what `convert` gave.

    network: the one that was quantised, or a fresh one like it: its wiring is what counts. CompLeakError where tensors
    are missing or are another network's.
    """
    try:
        model = Int8Model(rebuild(network, partial(_integer, state))).eval()
    except KeyError as error:
        raise CompLeakError(f"the int8 model lacks {error}: quantise the model again") from error
    _use_kernels(model)
    return model


def _integer(state, name, unit, norm):
    """The integer form of one unit, its tensors in `state` under its name."""
    if isinstance(unit, nn.Conv2d | nn.Linear):
        found = tuple(state[f"{name}.weight"].shape)
        if found != tuple(unit.weight.shape):
            raise CompLeakError(f"the int8 model is of another network: {name}.weight has shape {found}, not "
                                f"{tuple(unit.weight.shape)}")
    if isinstance(unit, nn.Conv2d):
        geometry = (unit.stride[0], unit.padding[0], unit.dilation[0], unit.groups)
        return Int8Conv(state, name, geometry, norm.pool if norm else None)
    if isinstance(unit, nn.Linear):
        return Int8Conv(state, name)
    if isinstance(unit, Norm):
        return Int8Conv(state, name, (1, 0, 1, unit.num_features), unit.pool)
    if isinstance(unit, Average):
        return units.Int8Average(state, name, unit)
    if isinstance(unit, nn.Dropout):
        return nn.Identity()
    kinds = {Input: units.Int8Input, Sum: units.Int8Sum, Concat: units.Int8Concat}
    return kinds[type(unit)](state, name)


def _use_kernels(model):
    """Switch to torch's int8 kernels where they give exactly the simulation's integers on a few pictures."""
    layers = [module for module in model.modules() if isinstance(module, Int8Conv)]
    pictures = torch.randn(CHECK, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected, engine = model(pictures), torch.backends.quantized.engine
    try:
        with units.quiet():
            torch.backends.quantized.engine = "fbgemm"
            for layer in layers:
                layer.pack_kernel()
            agree = all(_agrees(layer) for layer in layers) and torch.equal(model(pictures), expected)
    except (RuntimeError, AttributeError, NotImplementedError):
        agree = False
    finally:
        with units.quiet():
            torch.backends.quantized.engine = engine
    if agree:
        model.backend = "torch-int8"
    else:
        for layer in layers:
            layer.kernel = None


def _agrees(layer):
    """Whether kernel and simulation give the same integers on random ones, and the largest sums do not saturate."""
    channels = layer.weight.shape[1] * layer.geometry[3]
    q = torch.randint(STEPS + 1, (2, 5, 5, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    q[1] = STEPS
    return torch.equal(layer._fast(q), layer._exact(q))


class Quantization(Technique):
    name, script, degree_flag, epochs_flag = "quantization", "quantization/qat.py", "--degree", "--quantized_epochs"
    adjective, in_paper, degrees, allowed = "quantised", True, ("int8",), "int8"

    def describe(self, degree):
        return "8 bits a weight and activation"

    def short(self, degree):
        return degree

    def start(self, model, degree):
        model = prepare(model)
        return Session(model, QuantisationAware(model), convert)

    def load(self, tensors, degree, build):
        return load_int8(tensors, build())


QUANTIZATION = Quantization()
