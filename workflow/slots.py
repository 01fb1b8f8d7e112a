"""Slots that processes share, each held by one: a lock on a file, which the kernel drops when its holder ends."""
import fcntl
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

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


def take(path):
    """A file descriptor that holds the lock on `path`, or None where another process holds it.

    The lock lasts until every copy of the descriptor is closed, a child's included.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


@contextmanager
def held(slots, where):
    """Waits for one of `slots`, pairs (value, name), and gives (value, file descriptor) while its lock is held."""
    while True:
        for value, name in slots:
            file = take(Path(where) / name)
            if file is not None:
                try:
                    yield value, file
                finally:
                    os.close(file)
                return
        time.sleep(WAIT)
