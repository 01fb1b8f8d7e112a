"""models/networks/resnet.py against torchvision's ResNet-18 and the sizes that the design states."""
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from common.errors import UsageError
from models.networks import build, compressible_layers
from models.networks.resnet import ResNet


def randomise(model, seed):
    """Random values for everything that a fresh network sets to 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.dim() == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.eval()


def test_the_whole_network_equals_torchvisions_with_a_small_stem():
    ours = randomise(build("resnet18", 10, seed=0), seed=1)
    theirs = resnet18(num_classes=10).eval()
    theirs.conv1 = nn.Conv2d(3, 64, 3, 1, padding=1, bias=False)
    theirs.load_state_dict({name.replace("shortcut", "downsample"): t for name, t in ours.state_dict().items()})
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_sizes_are_those_of_the_design():
    model, macs = build("resnet18", 10, seed=0).eval(), []

    def count(layer, given, result):
        macs.append(layer.weight.numel() * (result[0, 0].numel() if result.dim() == 4 else 1))

    for layer in compressible_layers(model).values():
        layer.register_forward_hook(count)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    assert sum(macs) == pytest.approx(0.14e9, rel=0.02)


def test_the_layers_to_compress():
    layers = compressible_layers(build("resnet18", 10, seed=0))
    assert len(layers) == 21 and list(layers)[0] == "conv1" and list(layers)[-1] == "fc"
    assert [name for name in layers if "shortcut" in name] == [f"layer{i}.0.shortcut.0" for i in (2, 3, 4)]
    assert {type(layer) for layer in layers.values()} == {nn.Conv2d, nn.Linear}


def test_dropout_halves_what_the_classifier_sees_in_training_only():
    torch.manual_seed(0)
    model, pooled, seen = ResNet(4, widths=(8, 8, 8, 64)), [], []
    model.dropout.register_forward_hook(lambda layer, given, result: pooled.append(given[0]))
    model.fc.register_forward_hook(lambda layer, given, result: seen.append(given[0]))
    x = torch.randn(16, 3, 16, 16)
    model.train()(x)
    model.eval()(x)
    dropped = seen[0] == 0
    assert torch.equal(seen[0], torch.where(dropped, 0, 2 * pooled[0]))
    assert 0.45 < dropped[pooled[0] > 0].float().mean() < 0.55
    assert torch.equal(seen[1], pooled[1])


def test_the_seed_decides_the_weights_and_nothing_outside():
    before = torch.random.get_rng_state()
    one, again, other = (build("resnet18", 3, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


def test_convolutions_start_with_kaiming_deviation():
    weight = build("resnet18", 3, seed=0).layer3[1].conv2.weight  # fan out: 256 · 9
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_an_unknown_model_names_the_choices():
    with pytest.raises(UsageError, match="'vgg16': choose one of resnet18"):
        build("vgg16", 10, seed=0)
