"""The networks by name, for square pictures of 8 pixels or more, and the layers that compression works on."""
import torch
from torch import nn

from common.errors import UsageError
from models.networks.densenet import DENSENET121
from models.networks.mobilenet import MOBILENETV2
from models.networks.resnet import RESNET18, RESNET18_HALF, RESNET50
from models.networks.vgg import VGG16

NETWORKS = {"resnet18": RESNET18, "resnet18_half": RESNET18_HALF, "resnet50": RESNET50, "vgg16": VGG16,
            "mobilenetv2": MOBILENETV2, "densenet121": DENSENET121}


def build(name, num_classes, seed, width=1):
    """A freshly initialised network, its channels times `width`; the same seed gives the same weights.

    Raises UsageError for a name that is not in NETWORKS.
    """
    if name not in NETWORKS:
        raise UsageError(f"unknown model {name!r}: choose one of {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name].build(num_classes, width)


def compressible_layers(model):
    """Every convolution and linear layer by name, BatchNorm not: 21 for ResNet-18."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
