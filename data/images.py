"""Data sets as one uint8 array: decoded once, cached in one file, memory-mapped after that."""
import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from common.errors import CompLeakError, UsageError
from common.files import atomic, read_json, write_json

DATASETS = Path(__file__).resolve().parent / "datasets"
NAMES = ("cifar10", "digits", "imagefolder")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
PARTS = ("train", "val", "test")
OFFICIAL = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
FORMAT = 1


@dataclass(frozen=True)
class Dataset:
    """A labelled set of pictures, train and test parts pooled.

    images [n, size, size, 3] uint8 · labels [n] int64 · classes: names · statistics: (mean, std) per channel of
    pictures scaled to 0–1 · label: what the set is called in every table · fingerprint: of images and labels.
    """

    name: str
    label: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple
    statistics: tuple
    fingerprint: str


def load(name, data_dir=None, data_label=None, image_size=32):
    """One of NAMES as a Dataset of image_size × image_size pictures.

    cifar10 comes from torchvision's download in data/datasets/, or with data_dir from a copy there: the official
    files or class folders. imagefolder reads data_dir's class folders. Raises UsageError for an unknown name or a
    missing data_dir, CompLeakError for data that cannot be used.
    """
    if image_size < 8:
        raise UsageError(f"--image_size {image_size}: choose 8 or more pixels")
    if name == "digits":
        return _finish(name, "digits", *_digits(image_size))
    if name not in NAMES:
        raise UsageError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    if name == "imagefolder" and data_dir is None:
        raise UsageError("imagefolder needs --data_dir, a folder with one sub-folder of pictures for each class")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise UsageError(f"--data_dir {data_dir}: there is no such folder")
    official = data_dir is None or any((Path(data_dir) / file).exists() for file in OFFICIAL)
    if name == "cifar10" and official:
        root = Path(data_dir) if data_dir else DATASETS
        return _cached(name, "CIFAR-10", root, "official", image_size, lambda: _cifar10(root, image_size))
    files, classes = list_pictures(Path(data_dir))
    if name == "cifar10" and classes != CIFAR10_CLASSES:
        raise CompLeakError(f"--data_dir {data_dir}: its classes are {', '.join(classes[:12])}; CIFAR-10's are "
                            f"{', '.join(CIFAR10_CLASSES)} (use --dataset_name imagefolder for other pictures)")
    label = f"CIFAR-10 ({_encoding(files[0][0])})" if name == "cifar10" else data_label or Path(data_dir).resolve().name
    stamp = [(str(path.relative_to(data_dir)), path.stat().st_size, path.stat().st_mtime_ns) for path, _ in files]
    source = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()
    return _cached(name, label, Path(data_dir), source, image_size, lambda: (*_decode(files, image_size), classes))


def list_pictures(folder):
    """Every picture below class folders, train/val/test parts pooled: ([(path, class number)], class names).

    Raises CompLeakError for an empty folder, an empty class or fewer than two classes.
    """
    parts = [folder / part for part in PARTS if (folder / part).is_dir()] or [folder]
    classes = tuple(sorted({c.name for part in parts for c in part.iterdir() if c.is_dir()}))
    if len(classes) < 2:
        raise CompLeakError(f"{folder}: found {len(classes)} class folder(s), at least 2 are needed "
                            "(folder/<class>/<picture>, or folder/train/<class>/<picture>)")
    files = []
    for part in parts:
        for number, name in enumerate(classes):
            found = sorted(p for p in (part / name).glob("*") if p.suffix.lower() in ENDINGS)
            files += [(path, number) for path in found]
    empty = set(range(len(classes))) - {number for _, number in files}
    if empty:
        raise CompLeakError(f"{folder}: no pictures in class {classes[min(empty)]!r} (endings read: "
                            f"{' '.join(sorted(ENDINGS))})")
    return files, classes


def _cached(name, label, root, source, size, build):
    """The cache of this folder at this size, made with build() → (images, labels, classes) if need be."""
    key = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
    array_path = DATASETS / f"{name}-{size}-{key}.npy"
    meta_path = array_path.with_suffix(".json")
    found = _open_cache(array_path, meta_path, source)
    if found is None:
        images, labels, classes = build()
        rows = np.empty(len(images), dtype=[("image", "u1", images.shape[1:]), ("label", "<i8")])
        rows["image"], rows["label"] = images, labels
        with atomic(array_path) as path, open(path, "wb") as file:
            np.save(file, rows, allow_pickle=False)
        meta = {"format": FORMAT, "source": source, "classes": list(classes),
                "fingerprint": fingerprint(rows["image"], rows["label"])}
        write_json(meta_path, {**meta, "checksum": _checksum(meta)})
        found = _open_cache(array_path, meta_path, source)
    rows, meta = found
    return _finish(name, label, rows["image"], rows["label"], tuple(meta["classes"]), meta["fingerprint"])


def _checksum(meta):
    return hashlib.sha256(json.dumps(meta).encode()).hexdigest()[:16]


def _open_cache(array_path, meta_path, source):
    """(rows, meta), or None where the cache is absent, truncated, damaged or of other pictures."""
    if not (array_path.exists() and meta_path.exists()):
        return None
    try:
        meta = read_json(meta_path, "the command again")
        rows = np.load(array_path, mmap_mode="r", allow_pickle=False)
        intact = meta.pop("checksum") == _checksum(meta) and \
            fingerprint(rows["image"], rows["label"]) == meta["fingerprint"]
    except PermissionError:
        raise
    except Exception:  # a damaged header alone makes numpy raise half a dozen types
        intact = False
    if not intact:
        print(f"{array_path.name}: the cache is damaged, decoding the pictures again")
        return None
    return (rows, meta) if (meta["format"], meta["source"]) == (FORMAT, source) else None


def fingerprint(images, labels):
    """16 hex digits that name these pictures and labels."""
    digest = hashlib.sha256()
    for start in range(0, len(images), 4096):
        digest.update(np.ascontiguousarray(images[start : start + 4096]))
    digest.update(np.ascontiguousarray(labels, dtype="<i8"))
    return digest.hexdigest()[:16]


def _finish(name, label, images, labels, classes, known_fingerprint=None):
    statistics = CIFAR10_STATISTICS if name == "cifar10" else channel_statistics(images)
    return Dataset(name, label, images, np.array(labels, dtype=np.int64), classes, statistics,
                   known_fingerprint or fingerprint(images, labels))


def channel_statistics(images):
    """Mean and standard deviation of each channel over all pictures, scaled to 0–1; a flat channel gets std 1."""
    counts = np.stack([np.bincount(images[..., c].reshape(-1), minlength=256) for c in range(3)])
    values = np.arange(256) / 255
    mean = (counts * values).sum(1) / counts.sum(1)
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    return tuple(mean.tolist()), tuple(float(s) if s > 0 else 1.0 for s in std)


def _resized(picture, size):
    picture = picture.convert("RGB")
    return picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.BILINEAR)


@contextmanager
def _opened(path):
    """A picture, open; CompLeakError names one that cannot be read."""
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CompLeakError(f"{path}: this picture cannot be read ({error}); mend or remove it") from error


def _decode(files, size):
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for row, (path, _) in enumerate(tqdm(files, desc="decoding pictures", unit="file", mininterval=1)):
        with _opened(path) as picture:
            images[row] = np.asarray(_resized(picture, size))
    return images, np.array([number for _, number in files], dtype=np.int64)


def _cifar10(root, size):
    from torchvision.datasets import CIFAR10

    try:
        parts = [CIFAR10(root, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise CompLeakError(f"CIFAR-10 could not be downloaded ({error}); put cifar-10-python.tar.gz into {root} by "
                            "hand, or name a copy as class folders with --data_dir") from error
    images = np.concatenate([part.data for part in parts])
    if size != images.shape[1]:
        images = np.stack([np.asarray(_resized(Image.fromarray(image), size)) for image in images])
    return images, np.concatenate([part.targets for part in parts]), CIFAR10_CLASSES


def _digits(size):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    scaled = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.stack([np.asarray(_resized(Image.fromarray(image), size)) for image in scaled])
    return images, bunch.target, tuple(str(name) for name in bunch.target_names)


def _encoding(path):
    """How a copy is encoded, for its label: 'JPEG q75' from the quantisation table, else the file format."""
    with _opened(path) as picture:
        if picture.format != "JPEG":
            return f"{picture.format} copy"
        table = list(picture.quantization[0])
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        if sorted(table) == sorted(min(max((base * scale + 50) // 100, 1), 255) for base in JPEG_LUMINANCE):
            return f"JPEG q{quality}"
    return "JPEG copy"


# The example luminance table of the JPEG standard (ITU-T T.81, Annex K.1), which libjpeg scales by quality.
JPEG_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99)
