"""How files come to be: whole or not at all, by one writer at a time, and known again when they were changed."""
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from common.errors import CompLeakError, FileError

FORMAT = 1  # of files of arrays
BUSY = "busy"


@contextmanager
def atomic(path):
    """Gives a path to write to beside `path`, and puts it in place, on disk, when the block ends well.

    An OSError of the block or of the writing names `path`. A killed process leaves the file beside it, which no one
    reads and `locked` removes.
    """
    path = Path(path)
    # Process numbers alone repeat: containers that share a disk each count their own.
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())  # else a power cut may leave the new name with none of its content
        os.replace(beside, path)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(beside):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_json(path, value):
    """Write a dictionary of plain JSON values and its checksum, whole or not at all."""
    with atomic(path) as beside:
        text = json.dumps({**value, "sha256": checksum(json.dumps(value))}, indent=1)
        beside.write_text(text + "\n", encoding="utf-8")


def read_json(path):
    """The values of a JSON file, those that were written; FileError where it is missing or damaged."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it holds no names and values")
        found = value.pop("sha256", None)
        if found is None and value:
            (*rest, (_, last)) = value.items()
            damaged = last == checksum(json.dumps(dict(rest)))  # the checksum's own name was damaged
        else:
            damaged = found not in (None, checksum(json.dumps(value)))
        if damaged:
            raise ValueError("its contents changed")
    except FileNotFoundError:
        raise FileError.missing(path) from None
    except (ValueError, RecursionError) as error:
        raise FileError.damaged(path, error) from error
    return value


def save_arrays(path, meta, **arrays):
    """Write arrays and what they were made from as .npz, whole or not at all."""
    with atomic(path) as beside, open(beside, "wb") as file:
        np.savez(file, meta=np.array(json.dumps({"format": FORMAT, **meta})), **arrays)


def load_arrays(path, names=None):
    """(arrays by name, meta) of an .npz file; names None reads all of them.

    Raises FileError where the file is missing, damaged or of another format.
    """
    arrays, meta = read_npz(path, names)
    if meta.get("format") != FORMAT:
        raise FileError(path, f"has format {meta.get('format')!r}, this version reads {FORMAT}")
    return arrays, meta


def read_npz(path, names=None):
    """As `load_arrays`, without a look at the format; meta is empty where the file has none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if file.zip.testzip():  # an array that is read in part is not checked
                raise ValueError("its contents changed")
            meta = json.loads(str(file["meta"])) if "meta" in file.files else {}
            wanted = [name for name in file.files if name != "meta"] if names is None else names
            return {name: file[name] for name in wanted}, meta
    except FileNotFoundError:
        raise FileError.missing(path) from None
    except PermissionError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and json each raise their own for a damaged file
        raise FileError.damaged(path, error) from error


def checksum(*texts):
    """16 hex digits that name these texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


@contextmanager
def locked(path, wait=0.0):
    """Keep other processes off what lies at `path`, a model's folder or a result file, while the block runs.

    Gives the path. Raises CompLeakError where another process works there still after `wait` seconds. What killed
    writers left half-written is removed.
    Where no lock can be had (a folder that cannot be written, a file system without locks) the block runs without.
    """
    path, until = Path(path), time.monotonic() + wait
    lock = path.with_name(f".{path.name}.lock")
    while (file := take(lock)) is BUSY:
        if time.monotonic() >= until:
            raise CompLeakError(f"{path}: another process is working on this; wait until it has ended, or choose "
                                "another --run_dir")
        time.sleep(0.05)
    if file is None:
        yield path
        return
    with file:
        with suppress(OSError):
            _sweep(path)
        try:
            yield path
        finally:
            with suppress(OSError):
                os.unlink(file.name)


def take(lock):
    """The open file with the lock on it; BUSY where another process holds it; None where there can be none.

    The lock lasts until every copy of the file's descriptor is closed, a child's included.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "ab")  # noqa: SIM115, it stays open as long as the lock is held
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed the file between our opening and locking it: then it guards nothing.
        if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            return file
        found = BUSY
    except (BlockingIOError, FileNotFoundError):
        found = BUSY
    except OSError:
        found = None
    file.close()
    return found


def _sweep(path):
    """Remove temporary files (`atomic`'s) of writers that were killed: under the lock none lives."""
    beside = path.glob(".*") if path.is_dir() else path.parent.glob(f".{path.stem}*")
    for file in beside:
        if re.search(r"\.\d+(-[0-9a-f]{8})?$", file.name):
            file.unlink()
