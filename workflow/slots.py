"""Slots that processes share, each held by one: a lock on a file, which the kernel drops when its holder ends."""
import os
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

from common.files import BUSY, take

WAIT = 0.2  # seconds between tries


def gpu_slots(gpus, per_gpu, visible=None):
    """[(GPU, name of a slot on it)], one slot of every GPU before any second one.

    visible: a CUDA_VISIBLE_DEVICES to choose the GPUs from, or None for those numbered from 0. ValueError where it
    names fewer than `gpus`.
    """
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    if len(names) < gpus:
        raise ValueError(f"gpus={gpus}: CUDA_VISIBLE_DEVICES={visible} names {len(names)}")
    return [(name, f"gpu_{name}.{layer}") for layer in range(per_gpu) for name in names[:gpus]]


def folder():
    """Where this machine's GPU slots lie, one folder a user."""
    return Path(tempfile.gettempdir()) / f"compleak-slots-{os.getuid()}"


@contextmanager
def held(slots, where):
    """Waits for one of `slots`, pairs (value, name), and gives (value, file descriptor) while its lock is held."""
    while True:
        for value, name in slots:
            file = take(Path(where) / name)
            if file is not BUSY:  # None, where no file can be locked: then nobody waits for another
                with file or nullcontext():
                    yield value, file and file.fileno()
                return
        time.sleep(WAIT)
