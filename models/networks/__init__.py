"""The networks by name, for square pictures of 8 pixels or more, and the layers that compression works on."""
import torch
from torch import nn

from common.errors import UsageError
from models.networks.resnet import ResNet

NETWORKS = {"resnet18": ResNet}


def build(name, num_classes, seed):
    """A freshly initialised network; the same seed gives the same weights.

    Raises UsageError for a name that is not in NETWORKS.
    """
    if name not in NETWORKS:
        raise UsageError(f"unknown model {name!r}: choose one of {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](num_classes)


def compressible_layers(model):
    """Every convolution and linear layer by name, BatchNorm not: 21 for ResNet-18."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
