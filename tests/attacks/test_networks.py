"""attacks/networks.py: each random choice of a training has a seed of its own."""
import numpy as np
import torch

from attacks import networks
from attacks.mr_network import train_multi
from common.seeds import derive_seed


def test_weights_row_order_and_dropout_are_drawn_from_three_seeds(monkeypatch):
    seeds, permute, dropout, manual_seed = {}, torch.randperm, networks.Dropout, torch.manual_seed

    def randperm(n, generator):
        seeds.setdefault("order", generator.initial_seed())
        return permute(n, generator=generator)

    def draw(probability, seed, device):
        seeds["dropout"] = seed
        return dropout(probability, seed, device)

    def weights(seed):
        seeds["weights"] = seed
        return manual_seed(seed)

    monkeypatch.setattr(torch, "randperm", randperm)
    monkeypatch.setattr(networks, "Dropout", draw)
    monkeypatch.setattr(torch, "manual_seed", weights)
    train_multi(np.zeros((8, 2)), np.zeros((8, 2)), np.arange(8) % 2 == 0, seed=5, device="cpu", epochs=1)
    assert seeds == {role: derive_seed(5, role) for role in ("weights", "order", "dropout")}
    assert len({5, *seeds.values()}) == 4
