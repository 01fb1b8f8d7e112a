"""A step of SAMIA's training against a plain eager loop over torch's own nn.TransformerEncoder."""
import torch
from torch import nn
from torch.nn import functional as F

from attacks import networks, samia
from benchmarks.common import Row, command, fastest

GOAL = 1.5
ROW = Row("samia", "SAMIA's training, batch 128, 10 classes", f"≥ {GOAL} × a plain eager loop",
          "python -m benchmarks.samia")
ROWS, EPOCHS = 20_000, 100


class Plain(nn.Module):
    """The network as torch's modules give it: tokens [n,c,3] -> logits [n,2]."""

    def __init__(self, c):
        super().__init__()
        layer = nn.TransformerEncoderLayer(samia.WIDTH, samia.HEADS, samia.FEED_FORWARD, samia.DROPOUT, F.gelu,
                                           batch_first=True)
        self.normalise, self.embed = nn.BatchNorm1d(3 * c), nn.Linear(3, samia.WIDTH)
        self.encoder = nn.TransformerEncoder(layer, samia.LAYERS)
        self.hidden, self.out = nn.Linear(samia.WIDTH * c, samia.WIDTH), nn.Linear(samia.WIDTH, 2)

    def forward(self, tokens):
        x = self.normalise(tokens.flatten(1)).view(tokens.shape)
        return self.out(F.relu(self.hidden(self.encoder(F.gelu(self.embed(x))).flatten(1))))


def plain_epoch(network, inputs, targets):
    """One epoch as a textbook writes it."""
    optimiser = torch.optim.SGD(network.parameters(), samia.LEARNING_RATE, networks.MOMENTUM,
                                weight_decay=networks.WEIGHT_DECAY)
    for batch in torch.randperm(len(inputs)).to(inputs.device).split(networks.BATCH):
        optimiser.zero_grad()
        F.cross_entropy(network(inputs[batch]), targets[batch]).backward()
        optimiser.step()


def measure(device, steps=40, repeats=7):
    """steps a repeat, of which the fastest counts."""
    generator = torch.Generator().manual_seed(0)
    n, threads = steps * networks.BATCH, torch.get_num_threads()
    posteriors, sensitivity = torch.rand(2, n, 10, generator=generator)
    labels, member = torch.arange(n) % 10, torch.arange(n) % 2 == 1
    inputs, targets = samia.tokens(posteriors, sensitivity, labels, device), member.long().to(device)
    plain = Plain(10).to(device).train()

    def on_one_thread():
        with networks.one_thread():
            plain_epoch(plain, inputs, targets)

    taken = fastest({
        "ours": lambda: samia.train_samia(posteriors, sensitivity, labels, member, 0, device, 1),
        "plain": lambda: plain_epoch(plain, inputs, targets), "plain, one thread": on_one_thread}, repeats)
    step = {name: some / steps for name, some in taken.items()}
    ratio, one = step["plain"] / step["ours"], step["plain, one thread"] / step["ours"]
    whole = step["ours"] * EPOCHS * -(-ROWS // networks.BATCH)
    text = (f"{ratio:.2f} × with {threads} thread(s), {one:.2f} × with one ({1e3 * step['ours']:.1f} ms a step; "
            f"{ROWS:,} rows and {EPOCHS} epochs would take {whole:.0f} s)")
    figures = {"ratio": ratio, "ratio_one_thread": one, "whole_s": whole,
               **{f"{name}_s": some for name, some in step.items()}}
    return text, ratio >= GOAL, figures, {"steps": steps, "batch": networks.BATCH, "classes": 10, "repeats": repeats}


if __name__ == "__main__":
    command(__doc__, measure, ROW)
