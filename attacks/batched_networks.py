"""Many small networks of one shape, trained side by side: one matrix product a layer serves all of them."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from joblib import cpu_count
from torch.nn import functional as F

from attacks.networks import one_thread

WIDTH = 64
RATE, DECAY, BATCH, EPOCHS = 3e-3, 1e-2, 256, 20
TOGETHER = 16  # networks at once: their activations, 1 MB a layer, stay in a core's cache
SCORING_BATCH = 8192


@dataclass(frozen=True)
class Job:
    """One network to train and what to score with it; the arrays are shared between jobs, not copied.

    features [n,d] · member [n] bool · rows [k] int, those to train on · scored [m,d] · weights, order: seeds of the
    weights and of the order of the rows.
    """

    features: np.ndarray
    member: np.ndarray
    rows: np.ndarray
    scored: np.ndarray
    weights: int
    order: int


def train_and_score(jobs, epochs=EPOCHS):
    """Log-odds of membership from each job's network: d → 64 → 64 → 1 with GELU, trained by AdamW on cross-entropy.

    Features are standardised by the training rows. The rate falls from 3e-3 by a cosine over the epochs; weight decay
    1e-2, 256 rows a step. What a job gets, [m] float64, does not depend on its neighbours but for rounding.
    """
    shape = [(job.features.shape[1], len(job.rows)) for job in jobs]
    alike = [list(places) for _, places in groupby(sorted(range(len(jobs)), key=shape.__getitem__), shape.__getitem__)]
    parts = [places[start:start + TOGETHER] for places in alike for start in range(0, len(places), TOGETHER)]
    results = [None] * len(jobs)
    with one_thread(), ThreadPoolExecutor(cpu_count()) as pool:
        found = pool.map(lambda part: _train([jobs[place] for place in part], epochs), parts)
        try:
            for part, scores in zip(parts, found, strict=True):
                for place, score in zip(part, scores, strict=True):
                    results[place] = score
        finally:
            # Whoever interrupts waits for the parts that are being trained, not for all that are still to come.
            pool.shutdown(cancel_futures=True)
    return results


def initial_weights(inputs, seed):
    """Six float32 tensors, weight and bias of each layer: [d,64] [1,64] [64,64] [1,64] [1,64] [1,1].

    Hidden layers are uniform within ±1/√(inputs), torch's own choice for a linear layer. The last is zero, so that no
    network has an opinion before it has seen a row, and exchanging members and non-members mirrors every score.
    """
    generator, found = torch.Generator().manual_seed(seed), []
    for fan_in in (inputs, WIDTH):
        for rows in (fan_in, 1):
            found.append((2 * torch.rand(rows, WIDTH, generator=generator) - 1) / math.sqrt(fan_in))
    return [*found, torch.zeros(1, WIDTH), torch.zeros(1, 1)]


def _forward(weights, x):
    """Stacked weights of B networks and their inputs [B,n,d] -> log-odds [B,n]."""
    first, first_bias, second, second_bias, last, last_bias = weights
    x = F.gelu(torch.baddbmm(first_bias, x, first))
    x = F.gelu(torch.baddbmm(second_bias, x, second))
    # A product with one column: multiplying and adding up costs a tenth of a matrix product's call.
    return (x * last).sum(2) + last_bias[:, 0]


def _train(jobs, epochs):
    """Train jobs of one shape at once; their scores, a list of [m] float64."""
    moments = [_moments(job.features[job.rows]) for job in jobs]
    inputs = torch.stack([_standardised(job.features[job.rows], *of) for job, of in zip(jobs, moments, strict=True)])
    targets = torch.stack([torch.from_numpy(job.member[job.rows].astype(np.float32)) for job in jobs])
    orders = [torch.Generator().manual_seed(job.order) for job in jobs]
    each = [initial_weights(inputs.shape[2], job.weights) for job in jobs]
    weights = [torch.stack(parts).requires_grad_() for parts in zip(*each, strict=True)]
    optimiser = torch.optim.AdamW(weights, RATE, weight_decay=DECAY, fused=True)
    network = torch.arange(len(jobs))[:, None]
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * epoch / epochs)) / 2
        order = torch.stack([torch.randperm(inputs.shape[1], generator=generator) for generator in orders])
        for x, y in zip(inputs[network, order].split(BATCH, 1), targets[network, order].split(BATCH, 1), strict=True):
            optimiser.zero_grad()
            losses = F.binary_cross_entropy_with_logits(_forward(weights, x), y, reduction="none")
            # A mean over each network's rows, a sum over networks: none feels another's gradient.
            losses.mean(1).sum().backward()
            optimiser.step()
    return [_score([weight[place:place + 1] for weight in weights], _standardised(job.scored, *of))
            for place, (job, of) in enumerate(zip(jobs, moments, strict=True))]


def _moments(features):
    """Mean and standard deviation [d] in float64; a feature that never varies is divided by one and stays at zero."""
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    return mean, np.where(deviation == 0, 1, deviation)


def _standardised(features, mean, deviation):
    return torch.from_numpy(((features - mean) / deviation).astype(np.float32))


@torch.no_grad()
def _score(weights, inputs):
    """One network's log-odds for its standardised inputs [m,d] -> [m] float64."""
    parts = [_forward(weights, part[None])[0] for part in inputs.split(SCORING_BATCH)]
    return torch.cat(parts).double().numpy()
