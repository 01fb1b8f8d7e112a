"""Structured pruning: whole channels leave a network, which becomes smaller and faster on any device."""
import numpy as np
import torch
from torch import nn

from common.errors import CompLeakError
from models.networks.rebuild import wiring
from models.networks.units import Concat, Sum


def without_channels(network, ratio):
    """The state_dict of a network without int(n·ratio) of each n channels, ratio in (0, 1).

    Those go whose filters have the smallest L1 norms (Li et al., ICLR 2017). Channels that a residual sum or a
    depthwise convolution ties are one, its norm that of all its filters. Pictures and what the network gives keep
    theirs. CompLeakError for wiring that `rebuild.wiring` refuses, for other groups of channels, and for convolutions
    that share some of their channels but not all.
    """
    fed, state = wiring(network), network.state_dict()
    units = {name: network.get_submodule(name) for name in fed}
    given, taken, tied = _channels(fed, units)
    norms, stay = np.zeros(len(tied)), torch.ones(len(tied), dtype=torch.bool)
    filters = {name: tied[given[name]] for name, unit in units.items() if isinstance(unit, nn.Conv2d)}
    for name, channels in filters.items():
        np.add.at(norms, channels, units[name].weight.detach().abs().sum((1, 2, 3)).cpu().numpy())
    groups = {frozenset(channels.tolist()): channels for name, channels in filters.items() if _mixes(units[name])}
    if sum(map(len, groups)) != len(frozenset().union(*groups)):
        raise CompLeakError("channels cannot be removed where a sum ties some of a convolution's channels, but not all")
    given_out = set(tied[given[list(fed)[-1]]].tolist())
    for group in (channels for numbers, channels in groups.items() if not numbers & given_out):
        stay[group[np.argsort(norms[group], kind="stable")[:int(len(group) * ratio)]]] = False
    for name, unit in units.items():
        for key in [key for key in ("weight", "bias", "running_mean", "running_var") if f"{name}.{key}" in state]:
            state[f"{name}.{key}"] = state[f"{name}.{key}"][stay[tied[given[name]]]]
        if _mixes(unit):
            state[f"{name}.weight"] = state[f"{name}.weight"][:, stay[tied[taken[name]]]]
    return state


def _channels(fed, units):
    """Every channel of a network by its number, those of pictures first: ({unit: [c] those that it gives},
    {unit: [c] those that it takes}, [n] for each number the one that stands for all that it is tied to)."""
    given, taken, tied = {}, {}, np.arange(3)
    for name, sources in fed.items():
        parts = [given.get(source, np.arange(3)) for source in sources]
        given[name] = taken[name] = np.concatenate(parts) if isinstance(units[name], Concat) else parts[0]
        if _mixes(units[name]):
            given[name] = len(tied) + np.arange(len(units[name].weight))
            tied = np.concatenate([tied, given[name]])
        if isinstance(units[name], Sum):
            follows = np.arange(len(tied))
            follows[tied[parts[1]]] = tied[parts[0]]
            tied = follows[tied]
    return given, taken, tied


def _mixes(unit):
    """Whether a unit makes new channels: a linear layer, or a convolution that is not depthwise."""
    if isinstance(unit, nn.Conv2d) and unit.groups > 1 and unit.weight.shape[:2] != (unit.groups, 1):
        raise CompLeakError(f"channels cannot be removed from a convolution of {unit.groups} groups: {unit}")
    return isinstance(unit, nn.Linear) or isinstance(unit, nn.Conv2d) and unit.groups == 1


def fit(network, state):
    """Put tensors of other sizes into a network of the same wiring, which gets these sizes; returns the network."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        tensor.data = state[name].clone()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.groups = len(layer.weight)
    return network
