"""Structured pruning: whole channels leave a network, which becomes smaller and faster on any device."""
import numpy as np
import torch
from torch import nn

from common.errors import CompLeakError
from models.networks.rebuild import wiring
from models.networks.units import Concat, Norm, Sum


def without_channels(network, ratio):
    """The state_dict of a network without int(n·ratio) of each n channels, ratio in (0, 1).

    Those go whose filters have the smallest L1 norms (Li et al., ICLR 2017). Channels that a residual sum or a
    depthwise convolution ties are one, its norm that of all its filters. Pictures and logits keep theirs.
    CompLeakError for wiring that `rebuild.wiring` refuses, and for other groups of channels.
    """
    fed = wiring(network)
    channels, made, tied = _channels(fed)
    norms, stay = np.zeros(len(tied)), torch.ones(len(tied), dtype=torch.bool)
    for unit in [unit for unit in fed if isinstance(unit, nn.Conv2d)]:
        np.add.at(norms, tied[channels[unit]], unit.weight.detach().abs().sum((1, 2, 3)).cpu().numpy())
    for group in {tied[own[0]]: tied[own] for own in made}.values():
        stay[group[np.argsort(norms[group], kind="stable")[:int(len(group) * ratio)]]] = False
    state, names = network.state_dict(), {module: name for name, module in network.named_modules()}
    for unit in [unit for unit in fed if isinstance(unit, nn.Conv2d | Norm | nn.Linear)]:
        for key in ("weight", "bias", "running_mean", "running_var"):
            if (name := f"{names[unit]}.{key}") in state:
                state[name] = state[name][stay[tied[channels[unit]]]]
        if _is_new(unit):
            state[f"{names[unit]}.weight"] = state[f"{names[unit]}.weight"][:, stay[tied[channels[fed[unit][0]]]]]
    return state


def _channels(fed):
    """({unit: numbers of the channels that it gives}, those of each convolution that makes new ones, {number: the one
    that it is tied to} as an array)."""
    channels, made, tied = {None: np.arange(3)}, [], np.arange(3)
    for unit, sources in fed.items():
        given = [channels[source] for source in sources]
        if isinstance(unit, nn.Conv2d) and unit.groups not in (1, len(unit.weight)):
            raise CompLeakError(f"channels cannot be removed from a convolution of {unit.groups} groups: {unit}")
        channels[unit] = np.concatenate(given) if isinstance(unit, Concat) else given[0]
        if _is_new(unit):
            channels[unit] = len(tied) + np.arange(len(unit.weight))
            tied = np.concatenate([tied, channels[unit]])
            made += [channels[unit]] if isinstance(unit, nn.Conv2d) else []
        if isinstance(unit, Sum):
            follows = np.arange(len(tied))
            follows[tied[given[1]]] = tied[given[0]]
            tied = follows[tied]
    return channels, made, tied


def _is_new(unit):
    """Whether a unit mixes channels into new ones: a linear layer, or a convolution that is not depthwise."""
    return isinstance(unit, nn.Linear) or isinstance(unit, nn.Conv2d) and unit.groups == 1


def fit(network, state):
    """Put tensors of other sizes into a network of the same wiring, which gets these sizes; returns the network."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        tensor.data = state[name].clone()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.groups = len(layer.weight)
    return network
