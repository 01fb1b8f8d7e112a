"""Where computation runs, and how precisely."""
import re

import torch

from common.errors import UsageError


def choose_device(name):
    """torch.device for auto | cpu | cuda | cuda:N; UsageError where there is no such device."""
    # Numbers below 1e-38 take a processor ten times as long: a pruned, hardly trained model is full of them. Threads
    # that PyTorch starts later inherit the setting, so it stands here, before the first tensor.
    torch.set_flush_denormal(True)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    parts = re.fullmatch(r"cuda(?::([0-9]{1,4}))?", name)  # digits of ASCII: others are digits to Python, not to CUDA
    if not parts:
        raise UsageError(f"--device {name}: choose auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UsageError(f"--device {name}: PyTorch finds no GPU on this machine; use --device cpu")
    number = int(parts[1] or 0)
    if number >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: this machine has {torch.cuda.device_count()} GPU(s), numbered from 0")
    return torch.device("cuda", number) if parts[1] else torch.device("cuda")


def use_bfloat16(amp, device, image_size):
    """Whether training runs under bfloat16 autocast: where asked for and the hardware has it.

    Not on pictures of 8 pixels: a 3×3 convolution of a single pixel, which the last stage then is, now and then gets a
    gradient with uninitialised numbers in it in bfloat16 (torch 2.15 on a CPU).
    """
    if amp == "off" or image_size <= 8:
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
