"""Every network through every technique: train, compress, NR, SR, MR and tables, at toy size."""
import pytest

import CompLeakNR
import CompLeakSR
import train
from attacks import classifiers, mr
from attacks.saved import context_of
from clustering import clustering
from common.paths import ORIGINAL, Layout, Version
from evaluation import evidence, tables
from models.compression import TECHNIQUES, onnx_int8
from models.networks import NETWORKS
from models.networks.units import Network
from models.run import Run
from models.weights import read_weights
from pruning import prune
from quantization import ptq, qat

SCRIPTS = {"pruning": prune, "quantization": qat, "clustering": clustering, "ptq": ptq}
SIZE = {"resnet18": "8", "vgg16": "8"}  # at 8 pixels pruning silenced a block of so narrow a MobileNetV2
SMALLER, CHANNELS_LEAVE = "channels-0.5", ("resnet18", "mobilenetv2")
NEEDED = ["--attacks", "metric_based_2"]


def narrow(name, monkeypatch):
    """The network with a sixteenth of its channels, for every command."""
    full = NETWORKS[name]
    monkeypatch.setitem(NETWORKS, name, Network(lambda classes, width: full.build(classes, 1 / 16), full.source))


def compress(technique, degrees, asked):
    """One technique's command at these degrees."""
    entry = TECHNIQUES[technique]
    training = [entry.epochs_flag, "1", "--lr", "0.001"] if entry.epochs_flag else []
    for some in ([degree] for degree in degrees) if technique == "quantization" else [degrees]:
        SCRIPTS[technique].main([*asked, *training, entry.degree_flag, *map(entry.flag_value, some)])


def weights(run, version):
    """Numbers in the target's file."""
    saved = read_weights(run.layout.file(version, "target", "weights.pt"))
    return sum(tensor.numel() for tensor in saved["tensors"].values())


# ResNet-18 at every degree, the others at one of each technique; narrowed as here, its half is the same network.
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "resnet18_half"])
def test_a_network_goes_through_every_technique_to_the_tables(tmp_path, monkeypatch, name):
    narrow(name, monkeypatch)
    monkeypatch.setattr(classifiers, "TREES", 20)
    monkeypatch.setattr(onnx_int8, "CALIBRATION", 20)
    run = ["--dataset_name", "digits", "--model_name", name, "--run_dir", str(tmp_path), "--device", "cpu"]
    asked = [*run, "--amp", "off", "--query_rows", "scored", "--no-sensitivity"]
    train.main([*asked, "--image_size", SIZE.get(name, "16"), "--train_size", "820", "--epochs", "1", "--lr", "0.05"])
    count = None if name == "resnet18" else 1
    chosen = {technique: entry.degrees[:count] for technique, entry in TECHNIQUES.items()}
    if name in CHANNELS_LEAVE:
        chosen["pruning"] += (SMALLER,)
    for technique, degrees in chosen.items():
        compress(technique, degrees, asked)
        compressed = ["--compress", "--compress_name", technique, "--compress_degree", *degrees]
        CompLeakNR.main([*run, *(["--original"] if technique == "pruning" else []), *compressed, *NEEDED])
        CompLeakSR.main([*run, "--original", *compressed, "--attacks", "SR2 (RF)"])
    read = Run(Layout(tmp_path, "digits", name))
    versions = [Version(technique, degree) for technique, degrees in chosen.items() for degree in degrees]
    assert read.versions() == [ORIGINAL, *versions]
    mr.attack_groups(read, context_of(read), {"all": versions}, rows=[mr.WITH])
    if name in CHANNELS_LEAVE:
        assert weights(read, Version("pruning", SMALLER)) < 0.6 * weights(read, ORIGINAL)
    made = {table.name: table for table in tables.build(evidence.read(read))}
    words = set(map(str, [ORIGINAL, *versions]))
    assert set(made["models"].frame["model"]) == set(made["C1"].frame["model"]) == words
    assert set(made["C3"].frame["group"]) == {"all"}
