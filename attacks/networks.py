"""How every small attack network is trained, on rows of a shadow, and how it scores."""

import math
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from common.errors import CompLeakError
from common.metrics import balanced_accuracy
from common.seeds import derive_seed

MOMENTUM, WEIGHT_DECAY, BATCH = 0.9, 5e-4, 128
# Rows scored at once; attention keeps a number for each pair of classes, so with many classes fewer rows.
SCORING_BATCH, SCORING_PAIRS = 2048, 1_000_000


class Dropout:
    """Dropout factors, 0 or 1 / (1 - probability), for several activations from one draw of random bits.

    On a CPU, a Bernoulli draw for each activation costs as much as the arithmetic it masks; 16 random bits and
    a comparison do the same, the probability to within 1e-5. The factors' memory is used again at every step
    (fresh pages cost more than filling them), so they are good until the next draw.
    """

    def __init__(self, probability, seed, device):
        self.probability = probability
        self.generator = torch.Generator(device).manual_seed(seed)
        self.words = torch.empty(0, dtype=torch.int64, device=device)
        self.factors = torch.empty(0, device=device)

    def draw(self, shapes):
        """One float32 tensor of factors for each of the shapes."""
        sizes = [math.prod(shape) for shape in shapes]
        if len(self.factors) < sum(sizes):
            self.words = self.words.new_empty(-(-sum(sizes) // 4))
            self.factors = self.factors.new_empty(sum(sizes))
        bits = self.words.random_(-2**63, None, generator=self.generator).view(torch.int16)
        factors = self.factors[:sum(sizes)].copy_(bits[:sum(sizes)])
        factors.ge_(round(self.probability * 2**16) - 2**15).mul_(1 / (1 - self.probability))
        return [part.view(shape) for part, shape in zip(factors.split(sizes), shapes, strict=True)]


BUILDING = Lock()  # torch has one random state, which two networks must not draw from at once


def seeded(build, seed):
    """build() with weights drawn for the role "weights" of `seed`, leaving torch's own random state as it was."""
    with BUILDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return build()


@contextmanager
def one_thread():
    """One CPU thread for a while: steps this small lose more to waking threads than they gain from them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def backward(network, inputs, targets):
    """Set the gradients of the batch's mean loss. inputs [n,...], targets [n] int."""
    F.cross_entropy(network(inputs), targets).backward()


def train_network(network, inputs, member, learning_rate, dropout, seed, epochs, name=None, batch_size=BATCH,
                  judge=None, backward=backward, weight_decay=WEIGHT_DECAY):
    """Train a small attack network by SGD with cosine decay; the last epoch is the result.

    Everything lies on the network's device; the order of the rows comes from a CPU generator, so it is the same
    on every device. A last batch of a single row is left out, since BatchNorm cannot use it.

    network: with a `dropout` attribute to draw from · inputs [n,...] on its device · member [n] bool · dropout: its
    probability · seed int, from which the roles "order" and "dropout" get their own · name of the progress bar, None
    for no bar · batch_size: rows a step · judge: network → number, or None: the epoch that it rates highest is kept
    (the first if several) instead of the last, as the released protocol does · backward: sets a batch's gradients ·
    weight_decay of every parameter. Gives the network, in evaluation mode; CompLeakError unless there are members and
    non-members, one for each input.
    """
    targets = torch.as_tensor(member, device=inputs.device).long()
    if len(targets) != len(inputs) or targets.min() == targets.max():
        raise CompLeakError(f"an attack network needs members and non-members, one row each: got {len(inputs)} rows, "
                            f"{int(targets.sum())} members of {len(targets)}")
    order = torch.Generator().manual_seed(derive_seed(seed, "order"))
    network.dropout = Dropout(dropout, derive_seed(seed, "dropout"), inputs.device)
    optimiser = torch.optim.SGD(network.parameters(), learning_rate, MOMENTUM, weight_decay=weight_decay, fused=True)
    best, kept = -math.inf, None
    with one_thread():
        for epoch in tqdm(range(epochs), desc=name, unit="epoch", disable=name is None):
            network.train()
            optimiser.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * epoch / epochs)) / 2
            rows = torch.randperm(len(inputs), generator=order).to(inputs.device)
            for batch in rows.split(batch_size):
                if len(batch) > 1:
                    optimiser.zero_grad()
                    backward(network, inputs[batch], targets[batch])
                    optimiser.step()
            if judge and (rated := judge(network.eval())) > best:
                best, kept = rated, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if kept:
        network.load_state_dict(kept)
    network.dropout = None
    return network.eval()


def accuracy_judge(inputs, member):
    """network -> its balanced accuracy on these rows: what the released protocol chooses an epoch by, on the target."""
    member = np.asarray(member).astype(bool)
    return lambda network: balanced_accuracy(log_odds(network, inputs) > 0, member)


def log_odds(network, inputs):
    """Log-odds of membership, the difference of the two logits. inputs [n,...] -> numpy [n] float64."""
    rows = max(1, min(SCORING_BATCH, SCORING_PAIRS // inputs.shape[1] ** 2))
    # One piece of memory for all answers: small ones of their own between large activations would keep those from
    # being used again, and 20,000 rows of 200 classes took 8 GB.
    logits = torch.empty(len(inputs), 2, dtype=torch.float64, device=inputs.device)
    with torch.no_grad():
        for answers, part in zip(logits.split(rows), inputs.split(rows), strict=True):
            answers.copy_(network(part))
    return (logits[:, 1] - logits[:, 0]).cpu().numpy()
