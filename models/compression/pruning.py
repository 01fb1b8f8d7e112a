"""Pruning by magnitude (L1): weights of every convolution and linear layer, mask held, or whole channels."""
import numpy as np
import torch

from common.errors import UsageError
from models.compression.channels import fit, without_channels
from models.compression.technique import Technique
from models.networks import compressible_layers
from models.training import Hooks, Session

GRADUAL, CHANNELS = "gradual-", "channels-"  # how degrees begin: of that schedule, and of channels instead of weights
WORDS = {"": "", GRADUAL: "gradually ", CHANNELS: "channels "}
LARGEST_CONTROL = 4e-7  # a layer of the networks here has 2.4 million weights at most


def prune_mask(weight, sparsity):
    """Which weights stay: all but the int(n·sparsity) of smallest magnitude, same shape, bool.

    Of equal magnitudes the first in row-major order goes first, so the count is exact.
    """
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    order = weight.detach().abs().flatten().cpu().argsort(stable=True)
    mask[order[: int(weight.numel() * sparsity)]] = False
    return mask.view(weight.shape).to(weight.device)


def gradual_sparsity(final, epoch, epochs):
    """Sparsity from the start of an epoch (0-based) on, if it grows to `final` over epochs: Zhu & Gupta, 2017, eq. 1.

    s = s_f + (s_i − s_f)·(1 − t/n)³ with s_i = 0, t = epoch + 1 and n all epochs but the last floor(epochs / 3), which
    fine-tune at `final` alone: one epoch prunes at once.
    """
    steps = epochs - epochs // 3
    return final * (1 - (1 - min(epoch + 1, steps) / steps) ** 3)


class Mask(Hooks):
    """Zeroes the smallest weights of each layer and holds them at zero while the rest is fine-tuned.

    sparsity: fraction of each layer's weights that become zero, in (0, 1); gradual: not at once, but more at the start
    of each epoch, as `gradual_sparsity` says.
    """

    def __init__(self, model, sparsity, gradual=False):
        assert 0 < sparsity < 1, "a fraction of the weights"
        self.weights = [layer.weight for layer in compressible_layers(model).values()]
        # Laid out in memory as the weights are, or the product falls back to a slow path.
        self.masks = [torch.ones_like(weight, requires_grad=False) for weight in self.weights]
        self.final = sparsity if gradual else None
        if not gradual:
            self.prune(sparsity)

    def prune(self, sparsity):
        """Zero more weights until int(n·sparsity) of each layer are."""
        for weight, mask in zip(self.weights, self.masks, strict=True):
            if int(weight.numel() * sparsity) > (mask == 0).sum():  # a stopped epoch that goes on has pruned already
                mask.copy_(prune_mask(weight, sparsity))
        self.after_step()

    def start_epoch(self, epoch, epochs):
        if self.final is not None:
            self.prune(gradual_sparsity(self.final, epoch, epochs))

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


class Pruning(Technique):
    name, script, degree_flag, epochs_flag = "pruning", "pruning/prune.py", "--prune_sparsity", "--prune_epochs"
    adjective, in_paper, degrees = "pruned", True, ("0.6", "0.7", "0.8", "0.9")
    allowed = "a sparsity above 0 and below 1, such as 0.6, 0.7, 0.8, 0.9, gradual-0.9 or channels-0.5"

    def parse(self, text):
        kind, sparsity = self.read(text)
        if not 0 < sparsity < 1:
            raise ValueError
        return f"{kind}{sparsity}"

    @staticmethod
    def read(degree):
        """(GRADUAL, CHANNELS or "", sparsity) of a degree such as 0.6 or gradual-0.6; ValueError for no number."""
        kind = next((kind for kind in (GRADUAL, CHANNELS) if degree.startswith(kind)), "")
        return kind, float(degree.removeprefix(kind))

    def check(self, degree, recipe):
        if recipe.best_epoch and self.read(degree)[0] == GRADUAL:
            raise UsageError(f"--prune_sparsity {degree}: --protocol best_epoch may keep an epoch that is not yet "
                             "pruned to the end; prune one-shot, or in a run of another --protocol")

    def is_control(self, degree):
        """So small a sparsity removes int(n·sparsity) = 0 weights of each layer: 1e-7, 2e-7, … are as many controls."""
        return self.read(degree)[1] <= LARGEST_CONTROL

    def describe(self, degree):
        kind, sparsity = self.read(degree)
        if self.is_control(degree):
            return "fine-tuned, nothing removed"
        if kind == CHANNELS:
            return f"{100 * sparsity:g}% of the channels removed"
        return f"sparsity {100 * sparsity:g}%" + (", reached gradually" if kind else "")

    def short(self, degree):
        kind, sparsity = self.read(degree)
        if self.is_control(degree):
            return f"fine-tuned {round(1e7 * sparsity)}"
        return f"pruned {WORDS[kind]}{100 * sparsity:g}%"

    def start(self, model, degree):
        kind, sparsity = self.read(degree)
        if kind == CHANNELS:
            fit(model, without_channels(model, sparsity)).to(memory_format=torch.channels_last)
            return Session(model, Hooks(), lambda trained: trained.state_dict())
        return Session(model, Mask(model, sparsity, gradual=bool(kind)), pack)

    def unpack(self, tensors, degree):
        return unpack(tensors)

    def load(self, tensors, degree, build):
        small = self.read(degree)[0] == CHANNELS
        return fit(build(), tensors) if small else super().load(tensors, degree, build)


PRUNING = Pruning()
