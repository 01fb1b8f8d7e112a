"""The only training loop. Compression techniques hook into it; none has a loop of its own."""
import json
import math
import time
from dataclasses import asdict, dataclass

import torch
from torch.nn import functional as F
from tqdm import tqdm

from common.errors import CompLeakError
from common.seeds import derive_seed
from data.augment import crop_and_flip, draw, normalise

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
SAVE_EVERY = 60  # seconds between progress files: a crash costs a minute, a save well under 1% of one
L2_TERM = 5e-5  # of the released protocol


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: SGD with momentum 0.9, weight decay 5e-4, cosine decay over the epochs.

    l2_term and best_epoch are choices of the released protocol (models/protocol.py); best_epoch: epochs without a
    better one after which training stops, 0 where the last epoch is kept.
    """

    epochs: int
    lr: float
    batch_size: int
    augment: bool
    bfloat16: bool
    seed: int
    l2_term: bool = False
    best_epoch: int = 0


class Hooks:
    """What a compression technique adds to the loop; the base class is plain training."""

    def look(self, take):
        """Called before training; take(n) → at most n of the model's members, normalised [n, 3, h, w] on the CPU."""

    def parameter_groups(self, model, weight_decay):
        """The optimiser's groups: by default every parameter, decayed."""
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]

    def start_epoch(self, epoch, epochs):
        """Called before the first step of an epoch (0-based), with the model in training mode."""

    def after_backward(self):
        """Called when the gradients are there and the optimiser has not stepped."""

    def after_step(self):
        """Called when the optimiser has stepped."""

    def state_dict(self):
        """Tensors beyond the model's own that a stopped training needs to go on."""
        return {}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""


@dataclass(frozen=True)
class Session:
    """A model ready to be trained: the network, what hooks into its training, pack(model) → its tensors on disk."""

    model: torch.nn.Module
    hooks: Hooks
    pack: object


def train(model, images, labels, statistics, recipe, hooks, progress, log_path, description, selection=None):
    """Train a model in place on members alone; goes on from a progress file where there is one.

    images [n, h, w, 3] uint8 and labels [n] int64 lie on the model's device; statistics: (mean, std); progress: has
    load() → state or None and save(state), or is None; log_path: gets a JSON line an epoch; selection: a BestEpoch, or
    None for the last. Every random choice comes from (recipe.seed, epoch or step), so a stopped run ends in the same
    weights. CompLeakError when the loss or a weight stops being finite; no such state is saved.
    """
    n, groups = len(images), hooks.parameter_groups(model, WEIGHT_DECAY)
    optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM, fused=True)
    starts = [s for s in range(0, n, recipe.batch_size) if n - s > 1 or n == 1]  # BatchNorm needs two pictures
    parts = {"model": model, "optimizer": optimizer, "technique": hooks}
    parts |= {"selection": selection} if selection else {}
    first_epoch, first_step, totals = _resume(progress, parts, images.device)
    saved_at = time.monotonic()
    bar = tqdm(total=recipe.epochs * len(starts), initial=first_epoch * len(starts) + first_step, unit="step",
               desc=description, mininterval=1)
    for epoch in range(first_epoch, recipe.epochs):
        began, plan = time.monotonic(), EpochPlan(n, recipe, epoch, images.device)
        _start_epoch(model, optimizer, hooks, recipe, epoch)
        for step in range(first_step, len(starts)):
            rows = plan.order[starts[step] : starts[step] + recipe.batch_size]
            x = normalise(plan.pictures(images, rows), *statistics)
            torch.manual_seed(derive_seed(recipe.seed, "dropout", epoch, step))
            totals += _step(model, x, labels[rows], optimizer, hooks, recipe)
            bar.update()
            if progress and time.monotonic() - saved_at > SAVE_EVERY:
                _check(model, totals, epoch, recipe, description)
                progress.save({**{name: part.state_dict() for name, part in parts.items()}, "epoch": epoch,
                               "step": step + 1, "totals": totals})
                saved_at = time.monotonic()
        _check(model, totals, epoch, recipe, description)
        bar.set_postfix(_log(log_path, epoch, recipe, totals, time.monotonic() - began))
        first_step, totals = 0, torch.zeros_like(totals)
        if selection and selection.stop_after(model):
            break
    bar.close()
    if selection:
        selection.finish(model)
    return model


def _start_epoch(model, optimizer, hooks, recipe, epoch):
    model.train()
    hooks.start_epoch(epoch, recipe.epochs)
    for group in optimizer.param_groups:
        group["lr"] = cosine(recipe.lr, epoch, recipe.epochs)


class EpochPlan:
    """One epoch's order, crops and flips, drawn at once on the CPU so that every device sees the same."""

    def __init__(self, n, recipe, epoch, device):
        generator = torch.Generator().manual_seed(derive_seed(recipe.seed, "epoch", epoch))
        self.order = torch.randperm(n, generator=generator).to(device)
        self.augment = recipe.augment
        if self.augment:
            self.offsets, self.flips = (drawn.to(device) for drawn in draw(n, generator))

    def pictures(self, images, rows):
        """The pictures of these rows [b, h, w, 3] uint8, as this epoch shows them."""
        if not self.augment:
            return images[rows]
        return crop_and_flip(images[rows], self.offsets[rows], self.flips[rows])


def cosine(lr, epoch, epochs):
    """Learning rate of an epoch (0-based): half a cosine from lr towards zero over the epochs."""
    return 0.5 * lr * (1 + math.cos(math.pi * epoch / epochs))


def _step(model, x, y, optimizer, hooks, recipe):
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=recipe.bfloat16):
        logits = model(x)
    logits = logits.float()
    loss = F.cross_entropy(logits, y)
    optimizer.zero_grad()
    loss.backward()
    if recipe.l2_term:
        trained = [parameter for parameter in model.parameters() if parameter.grad is not None]
        torch._foreach_add_([parameter.grad for parameter in trained], trained, alpha=L2_TERM)
    hooks.after_backward()
    optimizer.step()
    hooks.after_step()
    return torch.stack([loss.detach() * len(y), (logits.argmax(1) == y).sum(), loss.new_full((), len(y))])


def _check(model, totals, epoch, recipe, description):
    """Raises CompLeakError where the loss or a weight is not finite: nothing of such a model is ever saved."""
    loss = (totals[0] / totals[2]).item()
    if not math.isfinite(loss) or not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise CompLeakError(f"{description}: the loss is {loss:.4g} in epoch {epoch + 1} at learning rate "
                            f"{cosine(recipe.lr, epoch, recipe.epochs):.3g}, or weights are no longer finite: use a "
                            "smaller --lr (what was saved before is kept)")


def _resume(progress, parts, device):
    """(epoch, step, totals) to go on from."""
    state = progress.load() if progress else None
    if state is None:
        return 0, 0, torch.zeros(3, device=device)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["epoch"], state["step"], state["totals"].to(device)


def _log(path, epoch, recipe, totals, seconds):
    """Add an epoch's line to the log; returns what of it the progress bar shows."""
    loss, accuracy = (totals[:2] / totals[2]).tolist()
    line = {"epoch": epoch + 1, "of": recipe.epochs, "lr": cosine(recipe.lr, epoch, recipe.epochs),
            "train_loss": loss, "train_accuracy": accuracy, "seconds": round(seconds, 3)}
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return {"loss": f"{loss:.3f}", "acc": f"{accuracy:.3f}"}


def settings(recipe):
    """The recipe as plain JSON values, for config.json; choices that are off are not mentioned."""
    return {name: value for name, value in asdict(recipe).items()
            if value or name not in ("l2_term", "best_epoch")}
