"""SAMIA, the self-attention membership attack on posteriors and sensitivity."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from attacks.attack import FITTED, Attack, Scored
from attacks.networks import BATCH, WEIGHT_DECAY, accuracy_judge, backward, log_odds, seeded, train_network
from common.seeds import derive_seed
from models.training import L2_TERM

WIDTH, HEADS, FEED_FORWARD, LAYERS = 64, 4, 128, 3
DROPOUT = 0.2
LEARNING_RATE = 0.001
# Attention keeps a number for each pair of classes: beyond so many classes a step computes so many pairs at once.
WHOLE, PAIRS = 100, 400_000


def encode(layer, x, masks):
    """nn.TransformerEncoderLayer (post-norm, GELU) written out, with ready dropout factors.

    x [n,c,d] -> [n,c,d]; masks: factors for the attention weights [n·heads,c,c], the attention's output [n,c,d], the
    feed-forward's middle [n,c,f] and its output [n,c,d], or None in evaluation.
    """
    n, c, d = x.shape
    attention = layer.self_attn
    qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    heads = qkv.view(n, c, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4).reshape(3, n * attention.num_heads, c, -1)
    query, key, value = heads.unbind(0)
    # Keys come before queries, since a CPU's softmax over a short last axis is four times slower.
    weights = torch.bmm(key * (d // attention.num_heads) ** -0.5, query.transpose(1, 2)).softmax(1)
    mixed = torch.bmm((weights if masks is None else weights * masks[0]).transpose(1, 2), value)
    mixed = mixed.view(n, attention.num_heads, c, -1).transpose(1, 2).reshape(n, c, d)
    mixed = attention.out_proj(mixed)
    x = layer.norm1(x + mixed if masks is None else torch.addcmul(x, mixed, masks[1]))
    middle = F.gelu(layer.linear1(x))
    out = layer.linear2(middle if masks is None else middle * masks[2])
    return layer.norm2(x + out if masks is None else torch.addcmul(x, out, masks[3]))


class Samia(nn.Module):
    """The network: tokens [n,c,3] -> logits [n,2] (non-member, member)."""

    def __init__(self, num_classes):
        super().__init__()
        self.normalise = nn.BatchNorm1d(3 * num_classes)
        self.embed = nn.Linear(3, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, FEED_FORWARD, DROPOUT, activation="gelu", batch_first=True)
            for _ in range(LAYERS))
        self.hidden = nn.Linear(WIDTH * num_classes, WIDTH)
        self.out = nn.Linear(WIDTH, 2)
        self.dropout = None

    def forward(self, tokens):
        return self.answer(self.normalised(tokens), self.masks(tokens))

    def normalised(self, tokens):
        """BatchNorm, the only part where the rows of a batch meet. [n,c,3] -> [n,c,3]."""
        return self.normalise(tokens.flatten(1)).view(tokens.shape)

    def masks(self, tokens):
        """Dropout factors for all layers, four tensors each, with n or n·heads rows; none in evaluation."""
        if not self.training:
            return []
        n, c, _ = tokens.shape
        return self.dropout.draw([(n * HEADS, c, c), (n, c, WIDTH), (n, c, FEED_FORWARD), (n, c, WIDTH)] * LAYERS)

    def answer(self, x, masks):
        """The logits [n,2] of normalised tokens x [n,c,3]; masks as `masks` gives them."""
        x = F.gelu(self.embed(x))
        for i, layer in enumerate(self.layers):
            x = encode(layer, x, masks[4 * i: 4 * i + 4] or None)
        return self.out(F.relu(self.hidden(x.flatten(1))))


def backward_in_halves(pool, network, tokens, targets):
    """`backward` of Samia, the second half of the batch on a thread of `pool`.

    The operations are too small for cores to share, so each core gets rows of its own. The batch is halved on
    every machine alike, and the halves' gradients are added in one order, so the result does not depend on the cores.
    With many classes a half is computed in parts, whose attention is forgotten before the next one's.
    """
    n, cut = len(tokens), -(-len(tokens) // 2)
    x, masks = network.normalised(tokens), network.masks(tokens)
    kept = [parameter for name, parameter in network.named_parameters() if not name.startswith("normalise.")]
    classes = x.shape[1]
    at_once = n if classes <= WHOLE else max(1, PAIRS // classes**2)

    def part(rows):
        own = x.detach()[rows].requires_grad_()
        factors = [mask.unflatten(0, (n, -1))[rows].flatten(0, 1) for mask in masks]
        loss = F.cross_entropy(network.answer(own, factors), targets[rows], reduction="sum") / n
        return torch.autograd.grad(loss, [own, *kept])

    def half(start, end):
        parts = (part(slice(at, min(at + at_once, end))) for at in range(start, end, at_once))
        (first, *total), rest = next(parts), []
        for of_rows, *more in parts:
            rest.append(of_rows)
            torch._foreach_add_(total, more)
        return torch.cat([first, *rest]), *total

    other = pool.submit(half, cut, n)
    (first, *gradients), (second, *more) = half(0, cut), other.result()
    torch._foreach_add_(gradients, more)
    for parameter, gradient in zip(kept, gradients, strict=True):
        parameter.grad = gradient
    x.backward(torch.cat([first, second]))


def tokens(posteriors, sensitivity, labels, device):
    """(p_c, s_c, [c = y]) for each class. posteriors, sensitivity [n,c]; labels [n] -> [n,c,3] float32."""
    posteriors, sensitivity = torch.as_tensor(posteriors), torch.as_tensor(sensitivity)
    assert posteriors.shape == sensitivity.shape, "a sensitivity for each posterior"
    found = torch.zeros(*posteriors.shape, 3)
    found[..., 0], found[..., 1] = posteriors, sensitivity
    found[torch.arange(len(found)), torch.as_tensor(labels).long(), 2] = 1
    return found.to(device)


def train_samia(posteriors, sensitivity, labels, member, seed, device, epochs=100, batch_size=BATCH, judge=None,
                weight_decay=WEIGHT_DECAY):
    """The Samia, in evaluation mode, trained on a shadow's posteriors, sensitivity [n,c], labels [n] and member [n].

    batch_size rows a step; judge, weight_decay and errors as of `train_network`.
    Source: Yuan and Zhang, USENIX Security 2022, section 4.
    """
    network = seeded(lambda: Samia(len(posteriors[0])), seed).to(device)
    inputs = tokens(posteriors, sensitivity, labels, device)
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return train_network(network, inputs, member, LEARNING_RATE, DROPOUT, seed, epochs, "SAMIA", batch_size, judge,
                             partial(backward_in_halves, pool) if inputs.device.type == "cpu" else backward,
                             weight_decay)


def samia_score(model, posteriors, sensitivity, labels):
    """Log-odds of membership under a trained SAMIA, [n] float64, since probabilities near 1 would tie; above 0 is
    P(member) > 0.5. Arguments as `train_samia`."""
    return log_odds(model, tokens(posteriors, sensitivity, labels, next(model.parameters()).device))


def _run(attacked, context):
    target, device, judge = attacked.target, context.device, None
    if "best_attack_epoch" in context.choices:
        judge = accuracy_judge(tokens(target.posteriors, target.sensitivity, target.labels, device), target.member)
    shown = (attacked.stacked(name) for name in ("posteriors", "sensitivity", "labels", "member"))
    # The gradient of the term is that of a weight decay.
    decay = WEIGHT_DECAY + (L2_TERM if "samia_l2_term" in context.choices else 0)
    model = train_samia(*shown, derive_seed(context.seed, "SAMIA"), device, batch_size=context.options.batch_size,
                        judge=judge, weight_decay=decay)
    scores = samia_score(model, target.posteriors, target.sensitivity, target.labels)
    return Scored(scores, scores > 0)


ATTACK = Attack("SAMIA", _run, FITTED, short="SAMIA", choices=("best_attack_epoch", "samia_l2_term"),
                options=("batch_size",), sensitive=True)
