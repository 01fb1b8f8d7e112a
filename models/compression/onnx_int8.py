"""Deployment int8: post-training static quantisation by ONNX Runtime, whose answers are ONNX Runtime's own."""
import importlib.util
import io
import json
import logging
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from common.errors import CompLeakError
from models.compression.technique import Technique
from models.training import Hooks, Session

PACKAGES = ("onnx", "onnxruntime")
NOTE = "compleak"  # the metadata's key
CALIBRATION = 1000  # members that the ranges of activations are taken from
BATCH = 50
FLOAT_LOGITS = "onnx-int8-float-logits"


def export(network, image_size):
    """The network, in evaluation mode, as an ONNX model, bytes: `pictures` [n, 3, h, w] → `logits` [n, c], any n."""
    network, file = network.cpu().eval(), io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # torch has a newer exporter, which needs two packages more
        torch.onnx.export(network, (torch.zeros(2, 3, image_size, image_size),), file, dynamo=False,
                          input_names=["pictures"], output_names=["logits"],
                          dynamic_axes={"pictures": {0: "n"}, "logits": {0: "n"}})
    return file.getvalue()


def quantise(model, pictures, float_logits=False):
    """The int8 form, bytes, of an ONNX model, bytes: QDQ, weights per channel, symmetric, activations per tensor.

    pictures [n, 3, h, w] float32: their smallest and largest activations are the ranges. float_logits: the last layer
    stays in floating point.
    """
    from onnx import load_model_from_string
    from onnxruntime.quantization import QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        quant_pre_process(load_model_from_string(model), plain, skip_symbolic_shape=True)
        last = load_model_from_string(plain.read_bytes()).graph.node[-1].name
        quantize_static(plain, small, Reader(pictures), quant_format=QuantFormat.QDQ, per_channel=True,
                        nodes_to_exclude=[last] if float_logits else None)
        return small.read_bytes()


def with_note(model, note):
    """An ONNX model, bytes, with a dictionary of plain values among its metadata, behind all else."""
    from onnx import ModelProto, StringStringEntryProto

    entry = StringStringEntryProto(key=NOTE, value=json.dumps({**note, "bytes": len(model)}))
    return model + ModelProto(metadata_props=[entry]).SerializeToString()


def without_note(data):
    """(model, note) that `with_note` joined; raises what the onnx package, or a missing note, raises."""
    need()
    from onnx import load_model_from_string

    props = {entry.key: entry.value for entry in load_model_from_string(data).metadata_props}
    note = json.loads(props[NOTE])
    return data[: note.pop("bytes")], note


def need():
    """CompLeakError where a package is missing that only these models need."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise CompLeakError(f'models of ONNX Runtime need the package {package}: pip install -e ".[deploy]"')


class Reader:
    """Gives pictures a batch at a time, as ONNX Runtime asks for them."""

    def __init__(self, pictures):
        self.batches = iter(pictures.split(BATCH))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"pictures": _array(batch)}


@contextmanager
def _quiet():
    """Keeps ONNX Runtime's advice off the screen for a while."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class OnnxModel(nn.Module):
    """An ONNX model, bytes, computed by ONNX Runtime on the CPU: normalised pictures [n, 3, h, w] → logits [n, c]."""

    def __init__(self, model):
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as common/threads.py has it
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def forward(self, x):
        logits = self.session.run(["logits"], {"pictures": _array(x)})[0]
        return torch.from_numpy(logits).to(x.device)


def _array(x):
    return np.ascontiguousarray(x.detach().cpu().numpy())


class Calibration(Hooks):
    """Trains nothing: keeps the pictures that ranges are taken from."""

    def look(self, take):
        self.pictures = take(CALIBRATION)


class OnnxInt8(Technique):
    name, script, degree_flag, file = "ptq", "quantization/ptq.py", "--degree", "model.onnx"
    adjective, degrees = "deployed", ("onnx-int8", FLOAT_LOGITS)
    allowed = f"onnx-int8 or {FLOAT_LOGITS}"
    lr, calibration, packages = None, CALIBRATION, PACKAGES

    def check(self, degree, recipe):
        need()

    def describe(self, degree):
        return "8 bits a weight and activation, by ONNX Runtime" + (
            ", the last layer float" if degree == FLOAT_LOGITS else "")

    def short(self, degree):
        return degree.replace("-", " ", 1)

    def start(self, model, degree):
        hooks = Calibration()

        def pack(trained):
            pictures = hooks.pictures
            exported = export(trained, pictures.shape[-1])
            made = quantise(exported, pictures, float_logits=degree == FLOAT_LOGITS)
            return {"onnx": torch.frombuffer(bytearray(made), dtype=torch.uint8)}

        return Session(model, hooks, pack)

    def load(self, tensors, degree, build):
        return OnnxModel(tensors["onnx"].numpy().tobytes())


ONNX_INT8 = OnnxInt8()
