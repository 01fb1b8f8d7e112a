"""Pruning: per-layer magnitude (L1, unstructured) on every convolution and linear weight, mask held."""
import numpy as np
import torch

from models.compression.technique import Technique
from models.networks import compressible_layers
from models.training import Hooks, Session

LARGEST_CONTROL = 4e-7  # a layer of the networks here has 2.4 million weights at most


def prune_mask(weight, sparsity):
    """Which weights stay: all but the int(n·sparsity) of smallest magnitude, same shape, bool.

    Of equal magnitudes the first in row-major order goes first, so the count is exact.
    """
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    order = weight.detach().abs().flatten().cpu().argsort(stable=True)
    mask[order[: int(weight.numel() * sparsity)]] = False
    return mask.view(weight.shape).to(weight.device)


class Mask(Hooks):
    """Zeroes the smallest weights of each layer and holds them at zero while the rest is fine-tuned.

    sparsity: fraction of each layer's weights that become zero, in (0, 1).
    """

    def __init__(self, model, sparsity):
        assert 0 < sparsity < 1, "a fraction of the weights"
        self.weights = [layer.weight for layer in compressible_layers(model).values()]
        # Laid out in memory as the weights are, or the product falls back to a slow path.
        self.masks = [torch.empty_like(w, requires_grad=False).copy_(prune_mask(w, sparsity)) for w in self.weights]
        self.after_step()

    @torch.no_grad()
    def after_step(self):
        torch._foreach_mul_(self.weights, self.masks)

    def state_dict(self):
        return {"masks": [mask.bool() for mask in self.masks]}

    def load_state_dict(self, state):
        for mask, saved in zip(self.masks, state["masks"], strict=True):
            mask.copy_(saved)


def pack(model):
    """The model's tensors with each pruned weight as one bit a position and its non-zero values in float32."""
    tensors = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    for name in compressible_layers(model):
        weight = tensors.pop(f"{name}.weight").contiguous()
        kept = weight != 0
        tensors[f"{name}.weight.kept"] = torch.from_numpy(np.packbits(kept.numpy().reshape(-1)))
        tensors[f"{name}.weight.values"] = weight[kept]
        tensors[f"{name}.weight.shape"] = torch.tensor(weight.shape)
    return tensors


def unpack(tensors):
    """The dense state_dict that `pack` was made from, value for value."""
    state = dict(tensors)
    for name in [key.removesuffix(".kept") for key in tensors if key.endswith(".weight.kept")]:
        shape = state.pop(f"{name}.shape").tolist()
        bits = np.unpackbits(state.pop(f"{name}.kept").numpy(), count=int(np.prod(shape))).astype(bool)
        weight = torch.zeros(len(bits))
        weight[torch.from_numpy(bits)] = state.pop(f"{name}.values")
        state[name] = weight.view(shape)
    return state


def sparsities(model):
    """Fraction of zero weights of each compressible layer."""
    return {name: (layer.weight == 0).float().mean().item() for name, layer in compressible_layers(model).items()}


class Pruning(Technique):
    name, script, degree_flag, epochs_flag = "pruning", "pruning/prune.py", "--prune_sparsity", "--prune_epochs"
    adjective, in_paper, degrees = "pruned", True, ("0.6", "0.7", "0.8", "0.9")
    allowed = "a sparsity above 0 and below 1, such as 0.6, 0.7, 0.8, 0.9"

    def parse(self, text):
        if not 0 < float(text) < 1:
            raise ValueError
        return str(float(text))

    def is_control(self, degree):
        """So small a sparsity removes int(n·sparsity) = 0 weights of each layer: 1e-7, 2e-7, … are as many controls."""
        return float(degree) <= LARGEST_CONTROL

    def describe(self, degree):
        return "fine-tuned, nothing removed" if self.is_control(degree) else f"sparsity {100 * float(degree):g}%"

    def short(self, degree):
        if self.is_control(degree):
            return f"fine-tuned {round(1e7 * float(degree))}"
        return f"pruned {100 * float(degree):g}%"

    def start(self, model, degree):
        return Session(model, Mask(model, float(degree)), pack)

    def load(self, tensors, degree, build):
        model = build()
        model.load_state_dict(unpack(tensors))
        return model


PRUNING = Pruning()
