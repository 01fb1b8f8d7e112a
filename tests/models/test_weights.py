"""models/checkpoint.py: names, whole files or none, and nothing in a file that can run."""
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import CompLeakError, UsageError
from common.files import atomic, read_json, write_json
from common.paths import ORIGINAL, Layout, Version
from models import compression, hints
from models.compression import clustering, paper_versions, pruning
from models.compression.clustering import Centroids
from models.compression.pruning import Mask
from models.networks import NETWORKS, build
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.run import Run
from models.weights import Progress, digest_of, load_model, read_weights, save_weights

SETTINGS = {"technique": None, "degree": None, "model": "resnet18", "num_cls": 3, "lr": 0.1}


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"fc.weight": torch.randn(20, 10, generator=generator), "fc.bias": torch.randn(20, generator=generator),
            "bn.num_batches_tracked": torch.tensor(3), "packed": torch.arange(50, dtype=torch.uint8)}


@pytest.fixture
def tiny(monkeypatch):
    """resnet18 with few channels, randomly filled."""
    monkeypatch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy"))
    torch.manual_seed(0)
    model = build("resnet18", 3, seed=0).to(memory_format=torch.channels_last)
    for tensor in model.state_dict().values():
        if tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)
    return model


# --- names

@pytest.mark.parametrize(("given", "folder"), [
    (("pruning", "0.6"), "results_pruning/cifar10_resnet18_0.6"),
    (("pruning", "0.60"), "results_pruning/cifar10_resnet18_0.6"),
    (("pruning", 0.9), "results_pruning/cifar10_resnet18_0.9"),
    (("quantization", "int8"), "results_quantization/cifar10_resnet18_int8"),
    (("clustering", "4"), "results_clustering/cifar10_resnet18_4"),
    (("clustering", "16"), "results_clustering/cifar10_resnet18_16"),
    (("clustering", "256"), "results_clustering/cifar10_resnet18_256"),
])
def test_compressed_models_lie_where_the_appendix_says(given, folder):
    layout, version = Layout(Path("/run"), "cifar10", "resnet18"), compression.parse(*given)
    assert layout.root(version) == Path("/run") / folder
    assert layout.file(version, "shadow_0", "weights.pt") == Path("/run") / folder / "shadow_0" / "weights.pt"
    assert layout.result(version, "SR.json") == Path("/run") / folder / "SR.json"


def test_originals_and_tables_lie_in_results():
    layout = Layout(Path("/run"), "cifar10", "resnet18")
    assert layout.file(ORIGINAL, "target", "queries.npz") == Path("/run/results/cifar10_resnet18/target/queries.npz")
    assert layout.tables == Path("/run/results/cifar10_resnet18/tables")
    assert [str(version) for version in paper_versions()] == [
        "original", "pruning_0.6", "pruning_0.7", "pruning_0.8", "pruning_0.9", "quantization_int8", "clustering_4",
        "clustering_8", "clustering_16"]


@pytest.mark.parametrize(("technique", "degree", "says"), [
    ("distillation", "2", "distillation: choose one of pruning, quantization, clustering"),
    (None, "2", "choose one of pruning"),
    ("pruning", "0", "0: for pruning choose a sparsity above 0 and below 1, such as 0.6, 0.7, 0.8, 0.9"),
    ("pruning", "1.0", "a sparsity above 0 and below 1"),
    ("pruning", "nan", "a sparsity above 0 and below 1"),
    ("pruning", "int8", "a sparsity above 0 and below 1"),
    ("quantization", "int4", "int4: for quantization choose int8"),
    ("quantization", "4", "for quantization choose int8"),
    ("clustering", "5", "5: for clustering choose a number of centroids, a power of two from 2 to 256, such as 4"),
    ("clustering", "512", "for clustering choose a number of centroids"),
    ("clustering", "0.6", "for clustering choose a number of centroids"),
])
def test_impossible_versions_are_refused(technique, degree, says):
    with pytest.raises(UsageError, match=says):
        compression.parse(technique, degree)


@pytest.mark.parametrize(("version", "command"), [
    (ORIGINAL, "train.py {}"),
    (Version("pruning", "0.7"), "pruning/prune.py {} --prune_sparsity 0.7"),
    (Version("quantization", "int8"), "quantization/qat.py {} --degree int8"),
    *((Version("clustering", str(2**bit)), f"clustering/clustering.py {{}} --bit {bit}") for bit in (2, 3, 4)),
])
def test_each_version_names_the_command_that_makes_it(version, command):
    flags = "--dataset_name cifar10 --model_name resnet18"
    assert hints.training(Layout(Path("."), "cifar10", "resnet18"), version) == f"python {command.format(flags)}"
    elsewhere = f"{flags} --run_dir '/my runs'"
    assert hints.training(Layout(Path("/my runs"), "cifar10", "resnet18"), version) == \
        f"python {command.format(elsewhere)}"


def test_a_hint_knows_the_pictures_and_the_recipe_of_the_run(tmp_path):
    layout, version = Layout(tmp_path, "cifar10", "resnet18"), Version("clustering", "8")
    write_json(layout.result(ORIGINAL, "split.json"), {"run": {"data_dir": "/my pictures"}})
    made = {"epochs": 7, "lr": 0.002, "batch_size": 20}
    write_json(layout.file(version, "target", "config.json"), {"settings": made})
    assert hints.training(layout, version).endswith(
        "--bit 3 --data_dir '/my pictures' --epochs 7 --lr 0.002 --batch_size 20")
    assert hints.training(layout).endswith("--data_dir '/my pictures'")


def test_finished_versions_are_found_in_the_papers_order(tmp_path):
    layout = Layout(tmp_path, "digits", "resnet18")
    made = [Version("clustering", "4"), Version("pruning", "0.55"), Version("pruning", "0.6"), ORIGINAL]
    for version in made:
        write_json(layout.file(version, "target", "config.json"), {})
    layout.file(Version("pruning", "0.7"), "target", "log.jsonl").parent.mkdir(parents=True)
    # Not a version of resnet18: the folders of another network whose name begins alike.
    write_json(Layout(tmp_path, "digits", "resnet18_wide").file(Version("pruning", "0.6"), "target", "config.json"), {})
    assert [str(v) for v in Run(layout).versions()] == ["original", "pruning_0.6", "pruning_0.55", "clustering_4"]


# --- whole files or none

@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "new folder" / "file.txt"
    with atomic(path) as beside:
        beside.write_text("old")
    with pytest.raises(error), atomic(path) as beside:
        beside.write_text("half")
        raise error
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    with atomic(path) as beside:
        beside.write_text("whole")
        assert not path.exists() and beside.parent == path.parent
    assert path.read_text() == "whole" and not beside.exists()


def test_json_is_read_back_or_its_command_is_named(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(CompLeakError, match="a.json is missing: run make it"), hints.mending("make it"):
        read_json(path)
    write_json(path, {"x": [1, 2.5, None]})
    assert read_json(path) == {"x": [1, 2.5, None]}
    for damage in (path.read_bytes()[:-4], b"\xff\xfe\x00"):
        path.write_bytes(damage)
        with pytest.raises(CompLeakError, match="a.json is damaged.*delete it and run make it"), \
                hints.mending(lambda: "make it"):
            read_json(path)


# --- weights

def test_weights_are_read_back_with_their_settings(tmp_path):
    name = save_weights(tmp_path / "weights.pt", tensors(), SETTINGS)
    saved = read_weights(tmp_path / "weights.pt")
    assert saved["settings"] == SETTINGS and saved["digest"] == name == digest_of(tensors())
    assert saved["tensors"].keys() == tensors().keys()
    assert all(torch.equal(saved["tensors"][key], tensor) for key, tensor in tensors().items())


def test_the_digest_sees_names_values_types_and_shapes():
    versions = [tensors(), tensors(1)]
    for change in (lambda t: t.update(other=t.pop("fc.bias")), lambda t: t.update({"fc.bias": t["fc.bias"].double()}),
                   lambda t: t.update({"fc.weight": t["fc.weight"].view(10, 20)}), lambda t: t.pop("packed"),
                   lambda t: t["packed"].__setitem__(7, 0)):
        changed = tensors()
        change(changed)
        versions.append(changed)
    assert len({digest_of(version) for version in versions}) == len(versions)
    laid_out = {"w": torch.randn(2, 3, 4, 5)}
    assert digest_of(laid_out) == digest_of({"w": laid_out["w"].to(memory_format=torch.channels_last)})


def refused(path):
    """The one-line message with which read_weights refuses the file."""
    with pytest.raises(CompLeakError) as error, hints.mending("python train.py"):
        read_weights(path)
    said = str(error.value)
    assert "\n" not in said and str(path) in said and said.endswith("run python train.py"), said
    return said


def test_missing_weights_name_the_command(tmp_path):
    assert "is missing" in refused(tmp_path / "weights.pt")


@pytest.mark.parametrize("keep", [0, 1, 10, 0.2, 0.5, 0.9, 0.999])
def test_truncated_weights_are_refused(tmp_path, keep):
    path = tmp_path / "weights.pt"
    save_weights(path, tensors(), SETTINGS)
    raw = path.read_bytes()
    path.write_bytes(raw[: keep if isinstance(keep, int) else int(len(raw) * keep)])
    assert "damaged" in refused(path)


@pytest.mark.parametrize("content", [
    [1, 2], torch.ones(3), {}, {"format": 99}, {"format": 1, "tensors": {}},
    {"format": 1, "tensors": {"a": torch.ones(2)}, "fingerprint": "0" * 16, "settings": "{}"},
    {"format": 1, "tensors": {"a": 3}, "fingerprint": "0" * 16, "settings": "{}"},
], ids=["list", "tensor", "nothing", "format", "incomplete", "fingerprint", "no tensors"])
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    refused(tmp_path / "weights.pt")


@pytest.mark.filterwarnings("ignore")
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "weights.pt"
    save_weights(path, tensors(), SETTINGS)
    raw, rng, refusals = path.read_bytes(), np.random.default_rng(0), 0
    in_settings = raw.index(b'"lr"')
    for at in [*rng.integers(len(raw), size=300), *range(in_settings, in_settings + 9)]:
        flipped = bytearray(raw)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            saved = read_weights(path)
        except CompLeakError:
            refusals += 1
            continue
        assert saved["settings"] == SETTINGS, at
        assert digest_of(saved["tensors"]) == digest_of(tensors()), at
    assert refusals > 100


def test_a_planted_pickle_is_refused_and_does_not_run(tmp_path, planted):
    path = tmp_path / "weights.pt"
    torch.save({"format": 1, "tensors": {}, "settings": planted(tmp_path / "ran"), "fingerprint": ""}, path)
    assert "damaged" in refused(path)
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists(), "the trap itself works"


# --- a stopped training's state

def test_progress_is_taken_only_with_the_same_settings(tmp_path, capsys):
    path, state = tmp_path / "progress.pt", {"epoch": 2, "model": tensors()}
    mine, other = Progress(path, SETTINGS), Progress(path, {**SETTINGS, "lr": 0.2})
    assert mine.load() is None
    mine.save(state)
    assert other.load() is None and mine.load()["epoch"] == 2
    assert torch.equal(mine.load()["model"]["fc.weight"], tensors()["fc.weight"])
    path.write_bytes(path.read_bytes()[:100])
    assert mine.load() is None and "starting this model afresh" in capsys.readouterr().out
    mine.remove()
    mine.remove()
    assert not path.exists()


# --- every version comes back as a network

@pytest.mark.parametrize(("technique", "degree", "compress", "pack"), [
    (None, None, lambda model: None, lambda model: model.state_dict()),
    ("pruning", "0.7", lambda model: Mask(model, 0.7), pruning.pack),
    ("clustering", "8", lambda model: Centroids(model, 3), lambda model: clustering.pack(model, 3)),
])
def test_a_saved_version_answers_as_the_model_did(tmp_path, tiny, technique, degree, compress, pack):
    compress(tiny)
    save_weights(tmp_path / "weights.pt", pack(tiny), {**SETTINGS, "technique": technique, "degree": degree})
    loaded = load_model(read_weights(tmp_path / "weights.pt"))
    assert not loaded.training
    x = torch.randn(5, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(loaded(x), tiny.eval()(x))
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), tiny.state_dict().values(), strict=True))
