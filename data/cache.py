"""Decoded pictures as one file, written as they are decoded and memory-mapped after that, with facts on them beside."""
import errno
import hashlib
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from common.errors import CompLeakError
from common.files import atomic, read_json, write_json
from data.names import shown

FOLDER = Path(__file__).resolve().parent / "datasets"  # of caches and downloads, where no other is named
FORMAT = 2
OFFICIAL = "official"  # the stamp of files whose content their publisher's checksums fix
AT_ONCE = 2**22  # bytes of pictures in memory while they are counted


@dataclass(frozen=True)
class Found:
    """Pictures that a reader has found and not decoded.

    root: the folder they lie in, or None for a few that a library brings, which need no cache · stamp: changes when
    they do · classes: names · decode(size) → (pictures, each PIL or [size, size, 3] uint8; labels [n]) · kind() → how a
    copy is encoded, for its label, or None.
    """

    root: Path | None
    stamp: str
    classes: tuple
    decode: object
    kind: object = None


@dataclass(frozen=True)
class Facts:
    """What is known of some pictures and labels once they have been gone through.

    digest: 16 hex digits that name them · mean, std: per channel of pictures scaled to 0–1 · twins: for each content
    that several rows share, these rows · kind: how a copy is encoded, or None.
    """

    digest: str
    mean: tuple
    std: tuple
    twins: tuple
    kind: str | None = None


def facts_of(images, labels, kind=None):
    """The Facts of images [n, size, size, 3] uint8 and labels [n]."""
    counts, rows = np.zeros((3, 256), np.int64), {}
    for some in chunks_of(images):
        counts += [np.bincount(some[..., c].reshape(-1), minlength=256) for c in range(3)]
    for row, image in enumerate(images):
        rows.setdefault(hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest(), []).append(row)
    twins = tuple(tuple(same) for same in rows.values() if len(same) > 1)
    return Facts(digest_of(images, labels), *_statistics(counts), twins, kind)


def _statistics(counts):
    """(mean, std) of each channel from the counts of its values [3, 256]; a channel of one single value gets std 1."""
    values = np.arange(256) / 255
    mean = (counts * values).sum(1) / counts.sum(1)
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    flat = (counts > 0).sum(1) == 1
    return tuple(mean.tolist()), tuple(np.where(flat, 1.0, std).tolist())


def digest_of(images, labels):
    """16 hex digits that name these pictures and labels, as in their Facts."""
    digest = hashlib.sha256()
    for some in chunks_of(images):
        digest.update(np.ascontiguousarray(some))
    digest.update(np.ascontiguousarray(labels, dtype="<i8"))
    return digest.hexdigest()[:16]


def chunks_of(images):
    """Pictures [n, size, size, 3], as many at a time as AT_ONCE holds."""
    step = max(1, AT_ONCE // images[:1].nbytes)
    return (images[start : start + step] for start in range(0, len(images), step))


def read(found, name, size, folders):
    """(images, labels, Facts) of found pictures: from a cache in one of these folders, or decoded into one.

    The first folder that can be written takes them; CompLeakError where none can.
    """
    if found.root is None:
        pictures, labels = found.decode(size)
        images = np.stack([np.asarray(picture) for picture in pictures])
        return images, labels, facts_of(images, labels)
    key = hashlib.sha256(os.fsencode(found.root.resolve())).hexdigest()[:8]
    file = f"{name}-{size}-{key}.npy"
    for folder in folders:
        opened = _open(folder / file, found)
        if opened is not None:
            return opened
    path = writable(folders) / file
    _write(path, found, size)
    return _open(path, found)


def writable(folders):
    """The first of these folders in which a file can be made; CompLeakError where there is none."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = f"{shown(folder)} cannot be written ({error.strerror})"
    raise CompLeakError(f"decoded pictures need a folder to be kept in: {reason}; name another with --cache_dir")


def _write(path, found, size):
    """Decode the pictures into a cache and write what is known of them beside it."""
    kind = found.kind and found.kind()
    pictures, labels = found.decode(size)
    row = np.dtype([("image", "u1", (size, size, 3)), ("label", "<i8")])
    with atomic(path) as beside:
        with open(beside, "wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(row), "fortran_order": False, "shape": (len(labels),)}
            np.lib.format.write_array_header_1_0(file, header)
            for picture, label in zip(pictures, labels, strict=True):
                file.write(np.array((np.asarray(picture), label), row).tobytes())
        rows = np.load(beside, mmap_mode="r", allow_pickle=False)
        known = asdict(facts_of(rows["image"], rows["label"], kind))
    write_json(path.with_suffix(".json"), {"format": FORMAT, "source": found.stamp, "classes": list(found.classes),
                                           "fingerprint": known.pop("digest"), **known})


def _open(path, found):
    """(images, labels, Facts), or None where the cache is absent, damaged, of other pictures or another format."""
    if not (path.exists() and path.with_suffix(".json").exists()):
        return None
    try:
        meta = read_json(path.with_suffix(".json"))
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        facts = Facts(meta["fingerprint"], *(tuple(meta[name]) for name in ("mean", "std")),
                      tuple(tuple(rows) for rows in meta["twins"]), meta["kind"])
        intact = digest_of(rows["image"], rows["label"]) == facts.digest
        fits = (meta["format"], meta["source"]) == (FORMAT, found.stamp)
    except PermissionError:
        return None
    except Exception:  # a damaged header alone makes numpy raise half a dozen types
        intact = False
    if not intact:
        print(f"{path.name}: the cache is damaged, decoding the pictures again")
        return None
    return (rows["image"], np.array(rows["label"]), facts) if fits else None
