"""Provenance: what a file was made from, and whether it still holds.

Answers have an identity, a digest of their own bytes and of how they were asked, so answers of models made elsewhere
and answers without weights have one too. Whatever is made from answers records it, and `holds` alone compares that with
what it would be made from now. Models are compared setting by setting, to say which one changed (models/making.py).
"""
import hashlib
import json

import numpy as np


def digest(*parts):
    """16 hex digits that name arrays (type, shape, bytes), texts, bytes and plain JSON values, in order."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype} {part.shape}".encode())
            found.update(np.ascontiguousarray(part))
        elif isinstance(part, bytes):
            found.update(part)
        else:
            found.update(json.dumps(part, sort_keys=True).encode())
    return found.hexdigest()[:16]


def identity(arrays, asked):
    """The identity of answers: arrays {name: [n, …]} as they are used, asked: how they came about, plain values."""
    return digest(asked, *(part for name in sorted(arrays) for part in (name, arrays[name])))


def holds(recorded, wanted, apart=()):
    """Whether a file that records what it was made from is what would be made now.

    apart: names that do not count, such as options that the reader does not choose.
    """
    if not isinstance(recorded, dict):
        return False
    return {name: value for name, value in recorded.items() if name not in apart} == \
        {name: value for name, value in json.loads(json.dumps(wanted)).items() if name not in apart}
