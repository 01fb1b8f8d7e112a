"""Sizes on disk of every network's versions, for 10 classes and 32×32 pictures, as a table."""
import tempfile
from pathlib import Path

import torch

from common.command import Parser, run
from common.paths import ORIGINAL, Layout, Version
from models.compression import TECHNIQUES, onnx_int8, short
from models.networks import NETWORKS, build
from models.weights import save_weights, weights_file

CLASSES, SIZE, PICTURES = 10, 32, 16
VERSIONS = [ORIGINAL, *(Version(name, degree) for name, degree in (
    ("pruning", "0.6"), ("pruning", "0.9"), ("pruning", "channels-0.5"), ("quantization", "int8"),
    ("clustering", "16"), ("clustering", "4"), ("ptq", "onnx-int8")))]


def packed(name, version, width=1):
    """The tensors that a network's version is saved as; its weights are untrained, which changes no size."""
    model = build(name, CLASSES, seed=0, width=width).to(memory_format=torch.channels_last)
    if version == ORIGINAL:
        return model.state_dict()
    session = TECHNIQUES[version.technique].start(model, version.degree)
    shown = torch.randn(PICTURES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    session.hooks.look(lambda n: shown[:n])
    with torch.no_grad():
        session.model.train()(shown)  # int8's ranges are those of pictures that were seen
    return {key: tensor.detach() for key, tensor in session.pack(session.model).items()}


def megabytes(name, version, width=1):
    """Size in MB of the file of a network's version."""
    with tempfile.TemporaryDirectory() as folder:
        path = weights_file(Layout(Path(folder), "cifar10", name), version, "target")
        save_weights(path, packed(name, version, width), {})
        return path.stat().st_size / 1e6


def main(argv=None):
    p = Parser(description=__doc__)
    p.add_argument("--model_name", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS), help="networks")
    names = p.parse_args(argv).model_name
    onnx_int8.need()
    print(" | ".join(["| MB", *map(short, VERSIONS)]), "|")
    print("| --- " * (1 + len(VERSIONS)) + "|")
    for name in names:
        sizes = [f"{megabytes(name, version):.2f}" for version in VERSIONS]
        print(" | ".join([f"| `{name}`", *sizes]), "|", flush=True)


if __name__ == "__main__":
    run(main)
