"""models/compression/onnx_int8.py: ONNX answers against torch's, what calibration sees, sizes, and the whole chain."""
import importlib.util
import json

import numpy as np
import pytest
import torch

import CompLeakNR
import CompLeakSR
import train
from common.errors import CompLeakError, FileError, UsageError
from common.files import read_json
from common.paths import ORIGINAL, Layout, Version
from data.augment import normalise
from models import making
from models.compression import onnx_int8
from models.networks import NETWORKS, build
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.queries import load_queries
from models.run import Run
from models.stage import load_data
from models.weights import load_model, read_weights
from quantization import ptq

INT8, FLOAT = (Version("ptq", degree) for degree in onnx_int8.ONNX_INT8.degrees)
SMALL = ["--dataset_name", "digits", "--device", "cpu", "--amp", "off", "--query_rows", "scored", "--no-sensitivity"]


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """A run of two originals of few channels and their two ONNX forms, `taken` the rows each was calibrated on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (16, 32, 32, 64)), "toy"))
        patch.setattr(onnx_int8, "CALIBRATION", 30)
        seen, quantise = [], onnx_int8.quantise
        patch.setattr(onnx_int8, "quantise", lambda model, shown, *a, **k: (seen.append(shown),
                                                                            quantise(model, shown, *a, **k))[1])
        run_dir = tmp_path_factory.mktemp("ptq")
        flags = [*SMALL, "--run_dir", str(run_dir)]
        train.main([*flags, "--image_size", "8", "--train_size", "100", "--epochs", "2", "--lr", "0.05"])
        ptq.main([*flags, "--degree", INT8.degree, FLOAT.degree])
        layout = Layout(run_dir, "digits", "resnet18")
        yield layout, seen


def saved(layout, version, world="target"):
    return read_weights(layout.file(version, world, "model.onnx" if version != ORIGINAL else "weights.pt"))


@pytest.mark.parametrize("name", NETWORKS)
def test_before_quantising_onnx_answers_as_torch(name):
    torch.manual_seed(0)
    network, x = build(name, 7, seed=0, width=1 / 16), torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        for _ in range(5):
            network.train()(torch.randn(16, 3, 16, 16))
        expected = network.eval()(x)
    found = onnx_int8.OnnxModel(onnx_int8.export(network, 16))
    torch.testing.assert_close(found(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert torch.equal(found(x[2:3]), found(x)[2:3]) or torch.allclose(found(x[2:3]), found(x)[2:3], atol=1e-5)


def test_calibration_sees_members_of_its_own_world_alone(layout):
    layout, seen = layout
    run = Run(layout)
    data = load_data(run)
    every = normalise(torch.from_numpy(data.images), *data.statistics).flatten(1).numpy()
    rows = {picture.tobytes(): row for row, picture in enumerate(every)}
    worlds = [*run.split.worlds, *run.split.worlds]  # of one degree, then of the other
    assert len(seen) == len(worlds) == 4
    for world, pictures in zip(worlds, seen, strict=True):
        shown = {rows[np.ascontiguousarray(picture).tobytes()] for picture in pictures.flatten(1).numpy()}
        assert len(shown) == 30 and shown <= set(world.members.tolist())


def test_weights_take_a_quarter_and_answers_stay_near():
    network = build("vgg16", 10, seed=0, width=1 / 2).eval()
    model, x = onnx_int8.export(network, 16), torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    small = onnx_int8.quantise(model, x)
    assert 3.7 < len(model) / len(small) < 4
    expected, found = network(x).detach(), onnx_int8.OnnxModel(small)(x)
    assert 0 < (found - expected).abs().max() < 0.3 * (expected.max() - expected.min())
    part = onnx_int8.OnnxModel(onnx_int8.quantise(model, x, float_logits=True))(x)
    assert len(found.unique()) <= 256 < len(part.unique())


def test_the_file_is_the_model_and_its_answers_are_onnx_runtimes(layout):
    layout = layout[0]
    path = layout.file(INT8, "shadow_0", "model.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    queries, run = load_queries(layout.file(INT8, "shadow_0", "queries.npz")), Run(layout)
    data = load_data(run)
    pictures = normalise(torch.from_numpy(data.images[queries.index[:50]]), *data.statistics)
    logits = session.run(None, {"pictures": np.ascontiguousarray(pictures.numpy())})[0]
    np.testing.assert_array_equal(logits, queries.logits[:50])
    config = read_json(layout.file(INT8, "shadow_0", "config.json"))
    assert config["versions"]["onnxruntime"] == onnxruntime.__version__ and config["bytes"] == path.stat().st_size
    assert config["settings"]["calibration"] and "lr" not in config["settings"]
    assert not np.array_equal(queries.logits, load_queries(layout.file(ORIGINAL, "shadow_0", "queries.npz")).logits)


def test_finished_models_stay_and_another_original_is_noticed(layout, capsys):
    layout = layout[0]
    flags = [*SMALL, "--run_dir", str(layout.run_dir)]
    before = layout.file(INT8, "target", "model.onnx").stat().st_mtime_ns
    layout.file(INT8, "target", "queries.npz").unlink()
    ptq.main(flags)
    assert layout.file(INT8, "target", "model.onnx").stat().st_mtime_ns == before
    assert layout.file(INT8, "target", "queries.npz").exists() and "made in" not in capsys.readouterr().out
    with pytest.raises(UsageError, match="--seed 3"):
        ptq.main([*flags, "--seed", "3"])


@pytest.mark.parametrize("at", [0.3, 0.999])
def test_a_damaged_file_is_noticed(layout, tmp_path, at):
    whole = layout[0].file(INT8, "target", "model.onnx").read_bytes()
    path, changed = tmp_path / "model.onnx", bytearray(whole)
    changed[int(at * len(whole))] ^= 4
    for data in (bytes(changed), whole[: len(whole) // 2], b""):
        path.write_bytes(data)
        with pytest.raises(FileError, match="model.onnx is damaged"):
            read_weights(path)
    path.write_bytes(whole)
    assert load_model(read_weights(path))(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    assert json.dumps(read_weights(path)["settings"]["degree"]) == '"onnx-int8"'


def test_a_missing_package_is_one_line(layout, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CompLeakError, match=r'need the package onnx: pip install -e "\.\[deploy\]"') as error:
        ptq.main([*SMALL, "--run_dir", str(layout[0].run_dir), "--retrain"])
    assert error.value.exit_code == 1


def test_nr_and_sr_run_on_the_version(layout):
    layout = layout[0]
    flags = ["--dataset_name", "digits", "--run_dir", str(layout.run_dir), "--device", "cpu", "--compress",
             "--compress_name", "ptq", "--compress_degree", INT8.degree]
    few = ["--attacks", "metric_based_2"]
    CompLeakNR.main([*flags, *few])
    CompLeakSR.main([*flags, "--original", "--attacks", "difference"])
    assert "metric_based_2" in read_json(layout.result(INT8, "NR.json"))["attacks"]
    assert read_json(layout.result(INT8, "SR.json"))["attacks"]
    assert making.TECHNIQUES["ptq"].short(INT8.degree) == "onnx int8"
