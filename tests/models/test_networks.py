"""models/networks against torchvision's models with stem and classifier adapted, published counts, and the README."""
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models as theirs

from common.errors import UsageError
from models.compression import clustering, int8, pruning
from models.networks import NETWORKS, build, compressible_layers
from models.networks.rebuild import pairs
from models.networks.resnet import ResNet
from models.networks.units import Norm

# Parameters for 10 classes, as torchvision's models have them once `adapted` gave them a small stem and classifier.
PARAMETERS = {"resnet18": 11_173_962, "resnet50": 23_520_842, "vgg16": 14_728_266, "mobilenetv2": 2_236_682,
              "densenet121": 6_956_426, "resnet18_half": 2_797_610}
LAYERS = {"resnet18": 21, "resnet18_half": 21, "resnet50": 54, "vgg16": 14, "mobilenetv2": 53, "densenet121": 121}


def adapted(name):
    """torchvision's network for 10 classes of 32×32 pictures: a small stem, and VGG's classifier a single layer."""
    if name == "resnet18_half":  # which torchvision has not
        return ResNet(10, widths=(32, 64, 128, 256)).eval()
    torchvision_name = {"vgg16": "vgg16_bn", "mobilenetv2": "mobilenet_v2"}.get(name, name)
    with torch.device("meta"):  # its own first weights are not needed
        model = getattr(theirs, torchvision_name)(num_classes=10, weights=None)
        if name.startswith("resnet"):
            model.conv1 = nn.Conv2d(3, 64, 3, 1, padding=1, bias=False)
        elif name == "vgg16":
            model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 10)
        elif name == "densenet121":
            model.features.conv0 = nn.Conv2d(3, 64, 3, 1, padding=1, bias=False)
    if name == "mobilenetv2":
        model.features[0][0].stride = model.features[2].conv[1][0].stride = (1, 1)
    return model.eval()


@pytest.fixture(scope="module", params=NETWORKS)
def whole(request):
    """Each network at its full width: (name, network in evaluation mode whose every unit passes something on)."""
    torch.manual_seed(1)
    network = build(request.param, 10, seed=0)
    for module in network.modules():
        if isinstance(module, Norm):
            nn.init.uniform_(module.weight, 1, 2 if module.act is F.relu else 6)  # so that some outputs are above 6
            module.momentum = 1
        if getattr(module, "bias", None) is not None:
            nn.init.uniform_(module.bias, -1, 1)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 32, 32))  # running statistics: those of this batch
    return request.param, network.eval()


def test_the_whole_network_equals_torchvisions_with_a_small_stem(whole):
    name, ours = whole
    other, state = adapted(name), ours.state_dict()
    if name == "resnet18":
        assert [key.replace("shortcut", "downsample") for key in state] == list(other.state_dict())
    other.load_state_dict(dict(zip(other.state_dict(), state.values(), strict=True)), assign=True)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = other(x)
        assert expected.std(0).mean() > 0.02 * expected.abs().max()  # the pictures are told apart
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in other.parameters()) == PARAMETERS[name]


@torch.no_grad()
def macs(model, image_size=32):
    """Multiplications that the convolutions and linear layers of a network in evaluation mode do for one picture."""
    counts = []

    def count(layer, given, result):
        counts.append(layer.weight.numel() * (result[0, 0].numel() if result.dim() == 4 else 1))

    hooks = [layer.register_forward_hook(count) for layer in compressible_layers(model).values()]
    model(next(model.parameters()).new_zeros(1, 3, image_size, image_size))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def test_the_readmes_table_is_what_the_networks_are(whole, root):
    name, network = whole
    page = (root / "models" / "README.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    million = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / 1e6
    assert row.split(" | ")[1:4] == [f"{PARAMETERS[name]:,}", f"{macs(network) / 1e6:.0f} M", f"{million:.1f} MB"]
    assert NETWORKS[name].source in row


def test_macs_are_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1), nn.Conv2d(8, 8, 3, groups=4), nn.AvgPool2d(14),
                          nn.Flatten(), nn.Linear(8, 5))
    assert macs(model) == 16 * 16 * 8 * 27 + 14 * 14 * 8 * 2 * 9 + 8 * 5
    assert macs(nn.Sequential(*model[:2]), image_size=8) == 4 * 4 * 8 * 27 + 2 * 2 * 8 * 2 * 9


def test_the_layers_to_compress():
    layers = compressible_layers(build("resnet18", 10, seed=0, width=1 / 16))
    assert list(layers)[0] == "conv1" and list(layers)[-1] == "fc"
    assert [name for name in layers if "shortcut" in name] == [f"layer{i}.0.shortcut.0" for i in (2, 3, 4)]


@pytest.mark.parametrize("name", NETWORKS)
def test_width_narrows_every_layer_and_any_size_from_8_pixels_passes(name):
    network = build(name, 7, seed=0, width=1 / 8).eval()
    layers, full = compressible_layers(network), {
        layer: tuple(module.weight.shape) for layer, module in compressible_layers(NETWORKS[name].build(7)).items()}
    assert len(layers) == LAYERS[name] and layers.keys() == full.keys()
    assert {type(layer) for layer in layers.values()} == {nn.Conv2d, nn.Linear}
    for layer, module in layers.items():
        assert module.weight.shape[0] == (7 if full[layer][0] == 7 else full[layer][0] / 8)
        assert module.weight.shape[1] == (full[layer][1] if full[layer][1] in (1, 3) else full[layer][1] / 8)
    with torch.no_grad():
        assert all(network(torch.randn(2, 3, size, size)).shape == (2, 7) for size in (8, 9, 15, 28, 32, 64))
    assert build(name, 7, seed=0, width=1 / 1000).eval()(torch.randn(1, 3, 8, 8)).shape == (1, 7)


@pytest.mark.parametrize(("name", "share"), [("resnet18", 0.5), ("resnet50", 0.5), ("vgg16", 0.5),
                                             ("mobilenetv2", 0.2)])
def test_dropout_thins_what_the_classifier_sees_in_training_only(name, share):
    torch.manual_seed(0)
    model, pooled, seen = build(name, 4, seed=0, width=1 / 8), [], []
    model.dropout.register_forward_hook(lambda layer, given, result: pooled.append(given[0]))
    list(compressible_layers(model).values())[-1].register_forward_hook(lambda _, given, result: seen.append(given[0]))
    x = torch.randn(16, 3, 16, 16)
    model.train()(x)
    model.eval()(x)
    dropped = seen[0] == 0
    torch.testing.assert_close(seen[0], torch.where(dropped, 0, pooled[0] / (1 - share)))
    assert dropped[pooled[0] > 0].float().mean().item() == pytest.approx(share, abs=0.05)
    assert torch.equal(seen[1], pooled[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_decides_the_weights_and_nothing_outside(name):
    before = torch.random.get_rng_state()
    one, again, other = (build(name, 3, seed, width=1 / 8).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert all(not torch.equal(one[key], other[key]) for key in one if one[key].dim() > 1)


def test_convolutions_start_with_kaiming_deviation_and_biases_at_zero():
    weight = build("resnet18", 3, seed=0).layer3[1].conv2.weight  # fan out: 256 · 9
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    *convolutions, linear = compressible_layers(build("vgg16", 3, seed=0, width=1 / 4)).values()
    assert all((conv.bias == 0).all() for conv in convolutions) and (linear.bias != 0).all()


def test_an_unknown_model_names_the_choices():
    with pytest.raises(UsageError, match="'vgg19': choose one of resnet18, resnet18_half, resnet50, .*, densenet121$"):
        build("vgg19", 10, seed=0)


def test_a_norm_takes_only_activations_that_a_clamp_can_be():
    with pytest.raises(AssertionError, match="the int8 form clamps"):
        Norm(4, F.gelu)


def test_a_norm_belongs_to_the_convolution_that_feeds_it():
    network = build("densenet121", 3, seed=0, width=1 / 8).eval()
    found, names = pairs(network), {module: name for name, module in network.named_modules()}
    layer = network.features[0].layers[0]
    assert found[layer.conv1] is layer.norm2 and found[network.stem[0]] is network.stem[1]
    assert {names[norm].rpartition(".")[2] for norm in found.values()} == {"norm2", "1"} and len(found) == 58 + 1
    network = ResNet(3, widths=(4, 4, 4, 8)).eval()
    found = pairs(network)
    assert len(found) == 20 and found[network.layer1[0].conv2] is network.layer1[0].bn2
    assert set(found.values()) == {module for module in network.modules() if isinstance(module, Norm)}


@pytest.mark.parametrize("name", NETWORKS)
def test_pruning_and_clustering_work_on_every_layer(name):
    network = build(name, 3, seed=0, width=1 / 16).to(memory_format=torch.channels_last)
    layers, x = compressible_layers(network), torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    pruned = pruning.Mask(network, 0.5)
    assert [int((layer.weight == 0).sum()) for layer in layers.values()] == [
        int(layer.weight.numel() * 0.5) for layer in layers.values()]
    whole = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert all(torch.equal(tensor, whole[key]) for key, tensor in pruning.unpack(pruning.pack(network)).items())
    assert len(pruned.masks) == LAYERS[name]
    clustered = clustering.Centroids(network, 2)
    F.cross_entropy(network(x), torch.tensor([0, 1, 2, 0])).backward()
    gradients = {key: layer.weight.grad.clone() for key, layer in layers.items()}
    clustered.after_backward()
    for (key, layer), codebook in zip(layers.items(), clustered.codebooks, strict=True):
        assert len(layer.weight.unique()) <= 4
        for centroid, gradient in zip(codebook.detach(), codebook.grad, strict=True):
            expected = gradients[key][layer.weight == centroid].sum()
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * gradients[key].abs().max().item())
    with torch.no_grad():
        for codebook in clustered.codebooks:
            codebook.copy_(torch.linspace(-1, 1, len(codebook)))
    clustered.after_step()
    assert all(set(layer.weight.unique().tolist()) <= set(codebook.tolist()) for layer, codebook in zip(
        layers.values(), clustered.codebooks, strict=True))
    state = clustering.unpack(clustering.pack(network, 2), 2)
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in state.items())


@pytest.mark.parametrize(("shape", "strides"), [
    ((8, 1, 3, 3), (9, 9, 3, 1)), ((8, 1, 3, 3), (9, 1, 3, 1)), ((8, 4, 1, 1), (4, 1, 1, 1)),
    ((8, 4, 1, 1), (4, 1, 4, 4)), ((8, 4, 3, 3), (36, 9, 3, 1)), ((8, 4, 3, 3), (36, 1, 12, 4))])
def test_flat_is_a_view_where_the_memory_format_is_ambiguous(shape, strides):
    weight = torch.empty_strided(shape, strides).normal_().to(memory_format=torch.channels_last)
    flat = clustering.flat(weight)
    assert flat.data_ptr() == weight.data_ptr()
    flat[5] = 42.0
    assert (weight == 42).sum() == 1 and torch.equal(flat, weight.permute(0, 2, 3, 1).contiguous().reshape(-1))


def test_the_readmes_network_is_one_file_and_one_entry(root, tmp_path, monkeypatch, toys):
    page = (root / "models" / "README.md").read_text()
    code, entry = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert len(code.splitlines()) < 40 and len(entry.splitlines()) == 1
    names = {}
    exec(code, names)
    name, value = re.fullmatch(r'NETWORKS\["(\w+)"\] = (\w+)\n', entry).groups()
    monkeypatch.setitem(NETWORKS, name, names[value])
    network = build(name, 4, seed=0, width=1 / 2)
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 4)
    model = int8.prepare(network)
    losses = toys.fine_tune(model, 3, 1, steps=8)
    assert losses[-1] < losses[0]
    x, state = toys.pictures(50, 2)[0], int8.convert(model)
    with torch.no_grad():
        apart = (int8.load_int8(state, network)(x) - model.eval()(x)).abs() / state["fc.scale"]
    assert apart.max() < 1.01
    assert len(pruning.Mask(network, 0.5).masks) == len(compressible_layers(network)) > 2
