"""Models of other people's making as functions from inputs to logits, whatever they are and however they answer."""
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from itertools import chain

import numpy as np
import torch

from common.errors import CompLeakError

ROUGH = (torch.float16, torch.bfloat16)  # a step of either is larger than the sensitivities' noise
NEAR = {"rtol": 1e-2, "atol": 1e-3}  # of two answers to one input: more than a GPU's order of sums, less than dropout


@contextmanager
def asked(model, inputs, sensitivity=False):
    """Gives (answer, device) while a model is in evaluation mode: answer(x [b, …]) → logits [b, c].

    Floating-point inputs are cast to the model's precision, where it shows in its tensors. Raises CompLeakError for a
    model that cannot be called, that fails, that gives no logits, that answers one input in two ways, or of half
    precision where sensitivities are wanted.
    """
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()
    if not callable(model):
        raise CompLeakError(f"the model is {type(model).__name__}: give a PyTorch module or a function of a batch")
    of_model = _tensors(model)
    device = of_model[0].device if of_model else inputs.device
    precision = next((tensor.dtype for tensor in (*of_model, inputs) if tensor.is_floating_point()), None)
    if sensitivity:
        _check_fine(precision)
    with _evaluation(model) as switched:
        answer = _answerer(model, precision, sensitivity)
        if not switched:
            _check_steady(answer, inputs[:8].to(device))
        yield answer, device


def _tensors(model):
    if not isinstance(model, torch.nn.Module):
        return []
    return list(chain(model.parameters(), model.buffers()))


def _check_fine(precision):
    """Raises CompLeakError for a precision in which sensitivities drown."""
    if precision in ROUGH:
        raise CompLeakError(f"the model computes in {precision}, whose rounding is larger than the noise that "
                            "sensitivities measure: give sensitivity=False, or model.float()")


def _answerer(model, precision, sensitivity):
    def answer(x):
        x = x.to(precision) if x.is_floating_point() else x  # noise may have made it float32
        try:
            given = model(x)
        except (CompLeakError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a stranger's code raises
            said = next((line for line in str(error).splitlines() if line.strip()), "")
            raise CompLeakError(f"the model fails on a batch {tuple(x.shape)} of {x.dtype}: {type(error).__name__}: "
                                f"{said[:200]}") from error
        found = _logits(given, len(x))
        if sensitivity:  # a function may hide a model in half precision, or autocast
            _check_fine(found.dtype)
        return found

    return answer


def _logits(given, rows):
    """The logits in what a model gave: itself, the first tensor of a tuple, "logits" of a dictionary or an object."""
    found = given
    if isinstance(given, Mapping):
        found = given["logits"] if "logits" in given else _first(given.values())
    elif hasattr(given, "logits"):
        found = given.logits
    elif isinstance(given, tuple | list):
        found = _first(given)
    if isinstance(found, np.ndarray):
        found = torch.from_numpy(found)
    if not isinstance(found, torch.Tensor) or not found.is_floating_point() or found.dim() != 2 or len(found) != rows:
        shape = f" {found.dtype} {tuple(found.shape)}" if isinstance(found, torch.Tensor) else ""
        names = f" with {', '.join(map(str, given))}" if isinstance(given, Mapping) else ""
        raise CompLeakError(f"the model gives {type(given).__name__}{names}{shape} for {rows} inputs: logits [{rows}, "
                            "classes] are needed, floating-point, alone, first in a tuple, or as 'logits'")
    return found.detach()


def _first(values):
    return next((value for value in values if isinstance(value, torch.Tensor | np.ndarray)), None)


@torch.inference_mode()
def _check_steady(answer, x):
    """Raises CompLeakError where a model that has no evaluation mode to be put into still draws at random."""
    one, other = answer(x).float(), answer(x).float()
    if not torch.allclose(one, other, **NEAR, equal_nan=True):
        raise CompLeakError("the model answers one input in two ways, as with dropout on, and cannot be put into "
                            "evaluation mode: call eval() before it is exported or wrapped")


@contextmanager
def _evaluation(model):
    """Puts a module into evaluation mode for a while; gives whether it has one."""
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    modes = [getattr(module, "training", None) for module in modules]
    switched = False
    try:
        if modules:
            with suppress(NotImplementedError, AttributeError, RuntimeError):  # of exported and frozen ones
                model.eval()
                switched = True
        yield switched
    finally:
        for module, mode in zip(modules, modes, strict=True):
            if mode is not None and module.training != mode:
                with suppress(AttributeError, RuntimeError):
                    module.training = mode
