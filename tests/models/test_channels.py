"""models/compression/channels.py: a network without channels answers as the whole one with these channels silenced."""
import copy

import pytest
import torch
from torch import nn

from common.errors import CompLeakError
from models.compression.channels import without_channels
from models.compression.pruning import PRUNING
from models.networks import NETWORKS, build
from models.networks.units import Concat, Norm, Sum


def lively(name):
    """A network whose Norms do something, in evaluation mode; each of their channels has a weight of its own."""
    torch.manual_seed(0)
    network = build(name, 7, seed=0, width=1 / 8).eval()
    for norm in (module for module in network.modules() if isinstance(module, Norm)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        for tensor in (norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.1, 1)
    return network


def weights(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_left_answers_as_the_network_with_the_channels_silenced(name):
    whole, pictures = lively(name), torch.randn(4, 3, 16, 16)
    session = PRUNING.start(copy.deepcopy(whole), "channels-0.5")
    packed = session.pack(session.model)
    small = PRUNING.load(packed, "channels-0.5", lambda: build(name, 7, seed=1, width=1 / 8)).eval()
    silenced = copy.deepcopy(whole)
    for left, norm in zip(small.modules(), silenced.modules(), strict=True):
        if isinstance(norm, Norm):
            stays = torch.isin(norm.weight, left.weight)
            assert stays.sum() == len(left.weight)
            norm.weight.data *= stays
            norm.bias.data *= stays
    expected = silenced(pictures)
    torch.testing.assert_close(small(pictures), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert (whole(pictures) - expected).abs().max() > 100 * (small(pictures) - expected).abs().max()
    assert 0.15 < weights(small) / weights(whole) < 0.45
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(session.model.eval()(x), small.to(memory_format=torch.channels_last)(x))


def test_the_filters_of_smallest_norm_leave():
    network = lively("vgg16")
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    state = without_channels(network, 0.3)
    norms = convs[0].weight.abs().sum((1, 2, 3))
    kept = norms.sort(descending=True).indices[: len(norms) - int(0.3 * len(norms))].sort().values
    assert torch.equal(state["features.0.0.weight"], convs[0].weight[kept])
    assert torch.equal(state["features.0.0.bias"], convs[0].bias[kept])
    assert state["features.1.0.weight"].shape[1] == len(kept)


def test_tied_channels_leave_by_the_norm_of_all_their_filters():
    network = lively("resnet18")
    tied = ["conv1", "layer1.0.conv2", "layer1.1.conv2"]
    norms = sum(network.get_submodule(name).weight.abs().sum((1, 2, 3)) for name in tied)
    kept = norms.sort(descending=True).indices[: len(norms) // 2].sort().values
    state = without_channels(network, 0.5)
    assert torch.equal(state["conv1.weight"], network.conv1.weight[kept])
    assert torch.equal(state["layer1.0.bn2.weight"], network.layer1[0].bn2.weight[kept])
    assert state["layer2.0.shortcut.0.weight"].shape[1] == len(kept)


@pytest.mark.parametrize("name", NETWORKS)
def test_so_many_leave_every_convolution_that_makes_channels(name):
    network = lively(name)
    state = without_channels(network, 0.5)
    for layer, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            assert len(state[f"{layer}.weight"]) == len(module.weight) - len(module.weight) // 2, layer


class Wired(nn.Module):
    """Two convolutions of 8 channels side by side, then one depthwise or added to a third, then one of 6 that ends."""

    def __init__(self, added):
        super().__init__()
        self.a, self.b, self.join, self.end = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1), Concat(), nn.Conv2d(16, 6, 1)
        self.c = nn.Conv2d(3, 16, 1) if added else nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.sum = Sum() if added else None

    def forward(self, x):
        joined = self.join(self.a(x), self.b(x))
        return self.end(self.sum(joined, self.c(x)) if self.sum else self.c(joined))


def test_what_a_depthwise_convolution_sees_side_by_side_leaves_once_and_the_end_keeps_its_channels():
    state = without_channels(Wired(added=False), 0.5)
    assert [len(state[f"{name}.weight"]) for name in ("a", "b", "c", "end")] == [4, 4, 8, 6]
    with pytest.raises(CompLeakError, match="ties some of a convolution's channels, but not all"):
        without_channels(Wired(added=True), 0.5)


def test_other_groups_and_other_wiring_are_refused():
    network = lively("vgg16")
    network.features[1][0] = nn.Conv2d(8, 8, 3, padding=1, groups=2)
    with pytest.raises(CompLeakError, match="2 groups"):
        without_channels(network, 0.5)
    network.features[1][0] = nn.ConvTranspose2d(8, 8, 1)
    with pytest.raises(CompLeakError, match="structured pruning need the units of .*, not ConvTranspose2d"):
        without_channels(network, 0.5)


def test_degrees_have_words_of_their_own():
    degree = PRUNING.degree("channels-0.50")
    assert degree == "channels-0.5" and PRUNING.short(degree) == "pruned channels 50%"
    assert PRUNING.describe(degree) == "50% of the channels removed"
