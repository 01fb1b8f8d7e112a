"""models/compression/pruning.py against torch.nn.utils.prune, and exact counts of zeros."""
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from common.errors import UsageError
from models.compression import pruning
from models.compression.pruning import Mask
from models.networks import NETWORKS, build, compressible_layers
from models.networks.resnet import ResNet
from models.training import Hooks, Recipe, train

SPARSITIES = (0.6, 0.7, 0.8, 0.9)


def network():
    torch.manual_seed(0)
    return ResNet(3, widths=(4, 8, 8, 16)).to(memory_format=torch.channels_last)


def fine_tune(model, technique, tmp_path, epochs=3):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(3, size=40))
    recipe = Recipe(epochs=epochs, lr=0.01, batch_size=20, augment=True, bfloat16=False, seed=7)
    train(model, images, labels, ((0.5,) * 3, (0.3,) * 3), recipe, technique, None, tmp_path / "log", "test")


@pytest.mark.parametrize("sparsity", [0.5, *SPARSITIES, 0.999])
def test_the_mask_drops_the_smallest_by_a_plain_sort(sparsity):
    weight = torch.randn(7, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    for laid_out in (weight, weight.to(memory_format=torch.channels_last)):
        mask = pruning.prune_mask(laid_out, sparsity)
        order = sorted(range(weight.numel()), key=lambda i: abs(weight.flatten()[i].item()))
        expected = torch.ones(weight.numel(), dtype=torch.bool)
        expected[order[: int(weight.numel() * sparsity)]] = False
        assert mask.dtype == torch.bool and torch.equal(mask, expected.view(weight.shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_control_is_fine_tuned_with_nothing_removed(name):
    most = max(layer.weight.numel() for layer in compressible_layers(build(name, 10, 0)).values())
    controls = [pruning.PRUNING.degree(text) for text in ("1e-7", "2e-7", "3e-7", "4e-7")]
    assert all(map(pruning.PRUNING.is_control, controls)) and len(set(controls)) == 4
    assert all(int(most * float(degree)) == 0 for degree in controls)
    assert not pruning.PRUNING.is_control("0.0001")
    assert pruning.PRUNING.short(controls[1]) == "fine-tuned 2"


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_equal_magnitudes_still_give_the_exact_count(value):
    weight = torch.full((10, 10), value) * torch.where(torch.arange(10) % 2 == 0, 1, -1)
    assert (~pruning.prune_mask(weight, 0.37)).sum() == 37


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_training_equals_torchs_pruning_step_for_step(tmp_path, sparsity):
    ours = network()
    theirs = network().to(memory_format=torch.contiguous_format)  # torch's pruning takes no other layout
    for layer in compressible_layers(theirs).values():
        prune.l1_unstructured(layer, "weight", amount=int(layer.weight.numel() * sparsity))
    fine_tune(ours, Mask(ours, sparsity), tmp_path)
    fine_tune(theirs, Hooks(), tmp_path)
    for layer in compressible_layers(theirs).values():
        prune.remove(layer, "weight")
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5, msg=name)
        if name.endswith("weight") and tensor.dim() > 1:
            assert torch.equal(tensor == 0, expected[name] == 0)
    assert (expected["layer3.0.conv1.weight"] - network().layer3[0].conv1.weight).abs().max() > 1e-3


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_the_zeros_are_exact_after_training_and_others_moved(tmp_path, sparsity):
    model = network()
    technique = Mask(model, sparsity)
    before = {name: layer.weight.detach().clone() for name, layer in compressible_layers(model).items()}
    fine_tune(model, technique, tmp_path)
    for name, layer in compressible_layers(model).items():
        weight = layer.weight
        assert (weight == 0).sum().item() == int(weight.numel() * sparsity), name
        assert torch.equal(weight == 0, before[name] == 0), "the mask holds"
        assert not torch.equal(weight, before[name])


@pytest.mark.parametrize(("epochs", "expected"), [(1, [0.8]), (3, [0.7, 0.8, 0.8]),
                                                  (6, [0.8 * (1 - f**3) for f in (0.75, 0.5, 0.25, 0, 0, 0)])])
def test_gradual_sparsity_follows_the_cubic_and_ends_exact(tmp_path, epochs, expected):
    """Zhu & Gupta's s_f·(1 − (1 − t/n)³), here written out: n = 1, 2, 4 of 1, 3, 6 epochs."""
    model, seen, pruned = network(), [], [set() for _ in compressible_layers(network())]

    class Watched(Mask):
        def start_epoch(self, epoch, epochs):
            super().start_epoch(epoch, epochs)
            seen.append([(weight == 0).sum().item() for weight in self.weights])
            for before, mask in zip(pruned, self.masks, strict=True):
                now = set((mask == 0).flatten().nonzero().flatten().tolist())
                assert before <= now, "what was pruned stays pruned"
                before |= now

    technique = Watched(model, 0.8, gradual=True)
    assert all((weight != 0).all() for weight in technique.weights), "nothing goes before the first epoch"
    fine_tune(model, technique, tmp_path, epochs)
    assert seen == [[int(weight.numel() * share) for weight in technique.weights] for share in expected]
    for layer in compressible_layers(model).values():
        assert (layer.weight == 0).sum() == int(layer.weight.numel() * 0.8)


def test_one_epoch_of_gradual_pruning_is_one_shot_to_the_bit(tmp_path):
    both = []
    for gradual in (False, True):
        both.append(network())
        fine_tune(both[-1], Mask(both[-1], 0.9, gradual), tmp_path, epochs=1)
    one, other = (model.state_dict() for model in both)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_gradual_degrees_have_a_spelling_of_their_own():
    degree = pruning.PRUNING.degree("gradual-0.90")
    assert degree == "gradual-0.9" and pruning.PRUNING.read(degree) == ("gradual-", 0.9)
    assert pruning.PRUNING.short(degree) == "pruned gradually 90%" and "gradually" in pruning.PRUNING.describe(degree)
    for wrong in ("gradual-1", "gradual-", "gradual-gradual-0.5", "0.5-gradual", "channels-0", "channels-1",
                  "channels-abc", "gradual-channels-0.5"):
        with pytest.raises(UsageError, match="for pruning choose a sparsity"):
            pruning.PRUNING.degree(wrong)


def test_gradual_pruning_is_refused_where_an_earlier_epoch_may_be_kept():
    recipe = Recipe(epochs=3, lr=0.01, batch_size=20, augment=True, bfloat16=False, seed=0, best_epoch=True)
    pruning.PRUNING.check("0.6", recipe)
    with pytest.raises(UsageError, match="gradual-0.6: --protocol best_epoch"):
        pruning.PRUNING.check("gradual-0.6", recipe)


@pytest.mark.parametrize("sparsity", [0.6, 0.9])
def test_pack_and_unpack_give_the_weights_back(sparsity):
    model = network()
    Mask(model, sparsity)
    packed = pruning.pack(model)
    state = pruning.unpack(packed)
    expected = model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    weights = [layer.weight for layer in compressible_layers(model).values()]
    kept = sum(w.numel() - int(w.numel() * sparsity) for w in weights)
    assert sum(t.numel() for name, t in packed.items() if name.endswith(".values")) == kept
    assert sum(t.numel() for name, t in packed.items() if name.endswith(".kept")) == \
        sum(-(-w.numel() // 8) for w in weights)
    network().load_state_dict(state)


@pytest.mark.parametrize("sparsity", [0, 1, -0.1, 1.5, float("nan")])
def test_sparsities_outside_0_to_1_are_refused(sparsity):
    with pytest.raises(AssertionError, match="a fraction of the weights"):
        Mask(network(), sparsity)


def largest_gradient(model):
    """Of one step on random pictures of 8×8."""
    pictures = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    F.cross_entropy(model.train()(pictures), torch.arange(64) % 10).backward()
    return max(parameter.grad.abs().max().item() for parameter in model.parameters())


def test_mobilenetv2_prunes_at_8_pixels_and_its_narrow_forms_overflow_where_pruning_silences_a_block():
    full = build("mobilenetv2", 10, seed=0)
    Mask(full, 0.9)
    assert largest_gradient(full) < 1e4
    narrow, silent = (build("mobilenetv2", 10, seed=0, width=1 / 16) for _ in range(2))
    for model in (narrow, silent):
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            nn.init.constant_(norm.bias, 0.1)
    nn.init.zeros_(silent.blocks[1].project[0].weight)  # two channels: pruning can leave both constant
    # From there on every BatchNorm sees a constant, and multiplies gradients by 1 / √(0 + 1e-5) = 316.
    assert largest_gradient(narrow) < 100 and largest_gradient(silent) > 1e30
