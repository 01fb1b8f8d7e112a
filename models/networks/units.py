"""The units that networks are composed of, and what the file of a network needs besides.

A network's forward hands activations from unit to unit and does nothing else with them. That wiring is written once
and serves every form of the network: `rebuild` exchanges what the units compute (quantisation-aware, integer).
"""
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Network:
    """A network's entry: build(num_classes, width=1) → module, its channels times `width`; source: the paper."""

    build: Callable
    source: str


class Input(nn.Identity):
    """Where normalised pictures [n, 3, h, w] enter: the first unit of every network."""


class Norm(nn.BatchNorm2d):
    """BatchNorm of [n, c, h, w], then `act` (None, F.relu or F.relu6), then `pool` (None or a square MaxPool2d).

    Fed by a convolution it is one unit with it. Fed by anything else, such as a concatenation, it is a unit of its own.
    """

    def __init__(self, channels, act=None, pool=None):
        super().__init__(channels)
        assert act in (None, F.relu, F.relu6), "the int8 form clamps: it knows no other activation"
        self.act, self.pool = act, pool

    def forward(self, x):
        y = super().forward(x)
        y = self.act(y, inplace=True) if self.act else y
        return self.pool(y) if self.pool else y


class Sum(nn.Module):
    """Residual sum of two activations of one shape, then (relu) ReLU."""

    def __init__(self, relu=False):
        super().__init__()
        self.relu = relu

    def forward(self, a, b):
        return F.relu(a + b, inplace=True) if self.relu else a + b


class Concat(nn.Module):
    """A list of activations [n, c_i, h, w] side by side: [n, Σ c_i, h, w]."""

    def forward(self, parts):
        return torch.cat(parts, 1)


class Average(nn.Module):
    """The mean of a channel, [n, c, h, w] → [n, c]; with a size, of its size×size windows, [n, c, h/size, w/size]."""

    def __init__(self, size=None):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x.mean((2, 3)) if self.size is None else F.avg_pool2d(x, self.window(*x.shape[2:]))

    def window(self, height, width):
        """Side of the square windows of a map: maps smaller than `size`, of small pictures, have one window."""
        return min(self.size, height, width)


def conv_norm(c_in, c_out, size, act=None, stride=1, groups=1, bias=False, pool=None):
    """A convolution that keeps the picture's size (divided by stride) and its Norm, as one unit."""
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, groups=groups, bias=bias)
    return nn.Sequential(conv, Norm(c_out, act, pool))


def scaled(channels, width):
    """A number of channels at a width factor: rounded, at least 1."""
    return max(1, round(channels * width))


def initialise(network):
    """Give convolutions their first weights: normal, variance 2 / fan out (He et al., ICCV 2015), and biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
