"""The multiple-reference attack: a network that joins several models' scores and losses of the same image."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from joblib import cpu_count
from torch import nn
from torch.nn import functional as F

from attacks.attack import Scored
from attacks.learners import fold_of_rows
from attacks.networks import accuracy_judge, log_odds, one_thread, seeded, train_network
from common.seeds import derive_seed

DROPOUT = 0.5
LEARNING_RATE = 0.01
BRANCH = (128, 64)
JOINED = (256, 128, 64, 2)
HALVES = 2  # folds of its scores on the shadow


class MultiNetwork(nn.Module):
    """Scores and losses of k models, side by side [n,s+k] -> logits [n,2] (non-member, member); s is k or 2k.

    The losses' mean and standard deviation on the shadow are part of it.
    """

    def __init__(self, loss_mean, loss_std, scores):
        super().__init__()
        self.register_buffer("loss_mean", loss_mean)
        self.register_buffer("loss_std", loss_std)
        self.first = nn.ModuleList(nn.Linear(width, BRANCH[0]) for width in (scores, len(loss_mean)))
        self.second = nn.ModuleList(nn.Linear(*BRANCH) for _ in range(2))
        widths = (2 * BRANCH[1], *JOINED)
        self.joined = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.dropout = None

    def forward(self, inputs):
        n, k = len(inputs), len(self.loss_mean)
        widths = [BRANCH[0]] * 2 + [layer.in_features for layer in self.joined]
        masks = [1.0] * len(widths)
        if self.training:
            masks = self.dropout.draw([(n, width) for width in widths])
        branches = [inputs[:, :-k], (inputs[:, -k:] - self.loss_mean) / self.loss_std]
        hidden = [second(F.relu(first(x)) * mask)
                  for x, first, second, mask in zip(branches, self.first, self.second, masks[:2], strict=True)]
        x = torch.cat(hidden, 1) * masks[2]
        for layer, mask in zip(self.joined[:-1], masks[3:], strict=True):
            x = F.relu(layer(x)) * mask
        return self.joined[-1](x)


def side_by_side(scores, losses, device):
    """The network's inputs: scores [n,k] or [n,2k], losses [n,k] -> [n,2k] or [n,3k] float32 on `device`."""
    scores, losses = np.asarray(scores, np.float32), np.asarray(losses, np.float32)
    assert scores.ndim == 2 and scores.shape in (losses.shape, (len(losses), 2 * losses.shape[1])), \
        "a score and a loss of each model for each image"
    return torch.from_numpy(np.hstack([scores, losses])).to(device)


def both_columns(scores):
    """Each model's probability of a non-member and of a member. scores [n,k], the latter -> [n,2k]."""
    return np.stack([1 - scores, scores], axis=2).reshape(len(scores), -1)


def train_multi(scores, losses, member, seed, device, epochs=100, judge=None, standardise=True):
    """The MultiNetwork, in evaluation mode, trained on a shadow's scores and losses.

    scores [n,k] member probabilities, or `both_columns` of them, losses [n,k] in nats, of the same images under k
    models; member [n] bool; judge and errors as of `train_network`; standardise: the losses.
    Source: CompLeak, multiple references.
    """
    inputs = side_by_side(scores, losses, device)
    std, mean = torch.std_mean(inputs[:, np.shape(scores)[1]:].double(), dim=0, correction=0)
    # Losses that never vary carry nothing; dividing by one keeps them at zero.
    std[std == 0] = 1
    if not standardise:
        mean, std = torch.zeros_like(mean), torch.ones_like(std)
    network = seeded(lambda: MultiNetwork(mean.float(), std.float(), np.shape(scores)[1]), seed).to(device)
    return train_network(network, inputs, member, LEARNING_RATE, DROPOUT, seed, epochs, judge=judge)


def multi_score(model, scores, losses):
    """Log-odds of membership, [n] float64, under a network from `train_multi`, whose scores and losses are like these;
    above 0 is P(member) > 0.5."""
    return log_odds(model, side_by_side(scores, losses, model.loss_mean.device))


def losses_of(models, k):
    """Losses [Σm, k] in nats of some models' scored rows (`inputs.Answers`), one below the other, for k columns.

    k fresh draws where members are shown through crops, else k times the same.
    """
    return np.concatenate([model.crops.losses[:k].T if model.crops else np.tile(model.losses[:, None], k)
                           for model in models])


@dataclass(frozen=True)
class Group:
    """What the MR attack sees of k versions on the target's m and the shadows' Σm rows.

    target_losses [m, k] and shadow_losses [Σm, k] in nats; scored: the k aggregated attacks' Scored; member [m] and
    shadow_member [Σm] bool; shadow_of [Σm], the shadow of each row, or None where there is one; candidate: whether the
    attacker may choose it on the shadow, for which its rows are scored there.
    """

    name: str
    target_losses: np.ndarray
    shadow_losses: np.ndarray
    scored: tuple
    member: np.ndarray
    shadow_member: np.ndarray
    shadow_of: np.ndarray | None = None
    candidate: bool = True


def network_attack(group, context):
    """The Scored of the MR network, log-odds, on a Group; on the shadows' rows from networks that did not see them."""
    in_sample, plain = "in_sample_forests" in context.choices, "plain_inputs" in context.choices
    on_shadow = np.stack([one.in_sample if in_sample else one.on_shadow for one in group.scored], axis=1)
    on_target = np.stack([one.scores for one in group.scored], axis=1)
    if plain:
        on_shadow, on_target = both_columns(on_shadow), both_columns(on_target)
    judge, train = None, partial(train_multi, standardise=not plain)
    if "best_attack_epoch" in context.choices:  # as the released protocol does, on the target
        judge = accuracy_judge(side_by_side(on_target, group.target_losses, context.device), group.member)
    seed = derive_seed(context.seed, "MR", *group.name.rsplit(", ", 1))
    model = train(on_shadow, group.shadow_losses, group.shadow_member, seed, context.device, judge=judge)
    found = multi_score(model, on_target, group.target_losses)
    return Scored(found, found > 0, _cross_fitted(on_shadow, group, seed, context, train) if group.candidate else None)


def _cross_fitted(on_shadow, group, seed, context, train):
    """Log-odds of the shadows' rows, each half's from a network that saw the other: [Σm]. Five folds would cost four
    trainings more, and a network that saw half the rows is, if anything, judged too low."""
    member, losses = group.shadow_member, group.shadow_losses
    fold = fold_of_rows(member, derive_seed(context.seed, "folds"), group.shadow_of, HALVES)

    def left_out(part):
        rest, mine = fold != part, fold == part
        model = train(on_shadow[rest], losses[rest], member[rest], seed, context.device)
        return multi_score(model, on_shadow[mine], losses[mine])

    scores, parts = np.empty(len(member)), range(fold.max() + 1)
    with one_thread(), ThreadPoolExecutor(cpu_count()) as pool:
        for part, found in zip(parts, pool.map(left_out, parts), strict=True):
            scores[fold == part] = found
    return scores
