"""A data set, a network, a technique and an attack of one's own: one entry each, and the whole chain takes them."""
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import CompLeakNR
import CompLeakSR
import train
from attacks import classifiers, mr, nr
from attacks.attack import NONE, Attack, Scored
from common.paths import ORIGINAL, Layout, Version
from data import sets
from data.cache import Found
from evaluation import claims, tables
from evaluation.evidence import read
from models import compress
from models.compression import TECHNIQUES
from models.compression.technique import Technique
from models.networks import NETWORKS
from models.networks.units import Average, Input, Network, conv_norm
from models.run import Run
from models.training import Hooks, Session

# A data set: pictures of one bright dot, a class for each corner.

def dots(data_dir, folders):
    rng, n = np.random.default_rng(0), 400
    labels = np.arange(n) % 4

    def decode(size):
        pictures = rng.integers(0, 120, (n, size, size, 3), dtype=np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            picture[label // 2 * (size - 2):][:2, label % 2 * (size - 2):][:, :2] = 255
        return map(Image.fromarray, pictures), labels

    return Found(None, "", ("north-west", "north-east", "south-west", "south-east"), decode)


# A network: one convolution.

class OneLayer(nn.Module):
    def __init__(self, num_classes, width=1):
        super().__init__()
        self.input, self.body, self.pool = Input(), conv_norm(3, int(8 * width), 3, F.relu), Average(4)
        self.flat, self.fc = nn.Flatten(), nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.fc(self.flat(self.pool(self.body(self.input(x)))))


def one_layer(num_classes, width):
    network = OneLayer(num_classes, width)
    network(torch.zeros(2, 3, 8, 8))
    return network


# A technique: weights rounded to multiples of a step, held there while the rest is trained on.

class Rounded(Hooks):
    def __init__(self, model, step):
        self.weights, self.step = [p for p in model.parameters() if p.dim() > 1], step
        self.after_step()

    @torch.no_grad()
    def after_step(self):
        for weight in self.weights:
            weight.copy_((weight / self.step).round() * self.step)


class Rounding(Technique):
    name, script, degree_flag, epochs_flag = "rounding", "rounding/round.py", "--step", "--epochs"
    adjective, degrees, allowed = "rounded", ("0.01", "0.1"), "a step above 0"

    def parse(self, text):
        if float(text) <= 0:
            raise ValueError
        return str(float(text))

    def describe(self, degree):
        return f"weights are multiples of {degree}"

    def start(self, model, degree):
        return Session(model, Rounded(model, float(degree)), lambda trained: trained.state_dict())

    def load(self, tensors, degree, build):
        model = build()
        model.load_state_dict(tensors)
        return model


# An attack: how far the largest logit stands above the mean.

def gap(attacked, context):
    return Scored(attacked.target.logits.max(1) - attacked.target.logits.mean(1), None)


GAP = Attack("gap", gap, knowledge=NONE, short="gap", label=False)


def test_a_toy_of_each_kind_goes_through_the_whole_chain(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(classifiers, "TREES", 40)
    monkeypatch.setitem(sets.DATASETS, "dots", sets.Source("dots", "four dots", dots))
    monkeypatch.setitem(NETWORKS, "onelayer", Network(one_layer, source="this test"))
    monkeypatch.setitem(TECHNIQUES, "rounding", Rounding())
    monkeypatch.setitem(nr.ATTACKS, "gap", GAP)
    run = ["--dataset_name", "dots", "--model_name", "onelayer", "--run_dir", str(tmp_path), "--device", "cpu"]
    asked = [*run, "--query_rows", "scored", "--no-sensitivity"]
    train.main([*asked, "--image_size", "8", "--epochs", "2", "--train_size", "100", "--lr", "0.05"])
    compress.main(TECHNIQUES["rounding"], "", [*asked, "--epochs", "1", "--step", "0.01", "0.1"], nargs="+")
    versions = [Version("rounding", "0.01"), Version("rounding", "0.1")]
    compressed = ["--compress", "--compress_name", "rounding", "--compress_degree", "0.01", "0.1"]
    CompLeakNR.main([*run, "--original", *compressed])
    CompLeakSR.main([*run, "--original", *compressed])
    mr.main(run)
    made = {table.name: table for table in tables.build(read(Run(Layout(tmp_path, "dots", "onelayer"))))}
    assert set(made["C1"].frame["model"]) == {str(ORIGINAL), *map(str, versions)}
    assert "gap" in set(made["C1"].frame["attack"]) and "rounded 0.1" in made["C2"].blocks["AUC (%)"].columns
    assert set(made["C3"].frame["group"]) == {"all 2"}
    assert "weights are multiples of 0.1" in set(made["models"].frame["compression"])
    claims.main(run)
    assert "C2" in capsys.readouterr().out


@pytest.mark.parametrize("degree", ["0", "-1", "x"])
def test_a_toys_impossible_degree_is_refused(degree):
    with pytest.raises(Exception, match="for rounding choose a step above 0"):
        Rounding().degree(degree)
