"""The multiple-reference attack: a network that joins several models' scores and losses of the same image."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from attacks.networks import log_odds, seeded, train_network

DROPOUT = 0.5
LEARNING_RATE = 0.01
BRANCH = (128, 64)
JOINED = (256, 128, 64, 2)


class MultiNetwork(nn.Module):
    """Scores and losses of k models, side by side [n,2k] -> logits [n,2] (non-member, member).

    The losses' mean and standard deviation on the shadow are part of it.
    """

    def __init__(self, loss_mean, loss_std):
        super().__init__()
        k = len(loss_mean)
        self.register_buffer("loss_mean", loss_mean)
        self.register_buffer("loss_std", loss_std)
        self.first = nn.ModuleList(nn.Linear(k, BRANCH[0]) for _ in range(2))
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
        branches = [inputs[:, :k], (inputs[:, k:] - self.loss_mean) / self.loss_std]
        hidden = [second(F.relu(first(x)) * mask)
                  for x, first, second, mask in zip(branches, self.first, self.second, masks[:2], strict=True)]
        x = torch.cat(hidden, 1) * masks[2]
        for layer, mask in zip(self.joined[:-1], masks[3:], strict=True):
            x = F.relu(layer(x)) * mask
        return self.joined[-1](x)


def side_by_side(scores, losses, device):
    """The network's inputs: scores [n,k], losses [n,k] -> [n,2k] float32 on `device`."""
    scores, losses = np.asarray(scores, np.float32), np.asarray(losses, np.float32)
    assert scores.ndim == 2 and scores.shape == losses.shape, "a score and a loss of each model for each image"
    return torch.from_numpy(np.hstack([scores, losses])).to(device)


def train_multi(scores, losses, member, seed, device, epochs=100, judge=None):
    """Train the network on a shadow's scores and losses.

    Args: scores [n,k] member probabilities, losses [n,k] in nats, of the same images under k models; member [n]
        bool; seed int; device; epochs int; judge as in `train_network`.
    Returns: MultiNetwork in evaluation mode, on `device`.
    Raises: CompLeakError unless there are members and non-members.
    Source: CompLeak, multiple references.
    """
    inputs = side_by_side(scores, losses, device)
    std, mean = torch.std_mean(inputs[:, inputs.shape[1] // 2:].double(), dim=0, correction=0)
    # Losses that never vary carry nothing; dividing by one keeps them at zero.
    std[std == 0] = 1
    network = seeded(lambda: MultiNetwork(mean.float(), std.float()), seed).to(device)
    return train_network(network, inputs, member, LEARNING_RATE, DROPOUT, seed, epochs, judge=judge)


def multi_score(model, scores, losses):
    """Log-odds of membership under a trained network; above 0 is P(member) > 0.5.

    Args: model from `train_multi`; scores [n,k]; losses [n,k] in nats.
    Returns: [n] float64.
    """
    return log_odds(model, side_by_side(scores, losses, model.loss_mean.device))
