"""The data sets: one entry each in DATASETS, and load() that gives any of them as one array of pictures."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.errors import CompLeakError, UsageError
from data import cache, official
from data.folders import class_folders
from data.names import shown
from data.pictures import resized
from data.tiny import tinyimagenet

SMALLEST = 8  # pixels a side: less is gone before the last stage of a network


@dataclass(frozen=True)
class Dataset:
    """A labelled set of pictures, train and test parts pooled.

    images [n, size, size, 3] uint8 · labels [n] int64 · classes: names · statistics: (mean, std) per channel of
    pictures scaled to 0–1 · label: what the set is called in every table · digest: of images and labels · twins:
    for each content that several rows share, these rows, for `splits.make_split`.
    """

    name: str
    label: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple
    statistics: tuple
    digest: str
    twins: tuple = ()

    @property
    def repeated(self):
        """How many pictures equal an earlier one in every pixel."""
        return sum(len(rows) - 1 for rows in self.twins)


@dataclass(frozen=True)
class Source:
    """One entry of DATASETS.

    name: for --dataset_name · label: in tables; None where it is the folder's or --data_label · read(data_dir, folders)
    → cache.Found, data_dir a Path or None, folders those that downloads may go to · classes, statistics: where they
    are published, else None: any classes, the pictures' own statistics · needs_dir: there is nothing to download ·
    root(data_dir, folders): where a set that can be downloaded lies, or None.
    """

    name: str
    label: str | None
    read: object
    classes: tuple | None = None
    statistics: tuple | None = None
    needs_dir: bool = False
    root: object = None


def digits(data_dir, folders):
    """The Found of scikit-learn's 1,797 scanned digits, grey values 0–16 scaled to 0–255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    scaled = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return cache.Found(None, "", tuple(str(name) for name in bunch.target_names),
                       lambda size: ((resized(Image.fromarray(image), size) for image in scaled), bunch.target))


DATASETS = {source.name: source for source in (
    Source("cifar10", "CIFAR-10", official.cifar10, official.CIFAR10_CLASSES, official.CIFAR10_STATISTICS,
           root=official.cifar10.root),
    Source("cifar100", "CIFAR-100", official.cifar100, official.CIFAR100_CLASSES, root=official.cifar100.root),
    Source("digits", "digits", digits),
    Source("imagefolder", None, lambda data_dir, folders: class_folders(data_dir), needs_dir=True),
    Source("tinyimagenet", "Tiny-ImageNet", tinyimagenet, needs_dir=True),
)}


def load(name, data_dir=None, data_label=None, image_size=32, cache_dir=None, run_dir=None):
    """One of DATASETS as a Dataset of image_size × image_size pictures; says what is left out and what is there twice.

    data_dir: a folder with a copy: the official files or class folders. data_label: what an imagefolder is called.
    cache_dir: folder of downloads and decoded pictures, data/datasets/ by default; where that cannot be written they
    go to run_dir/datasets/. Raises UsageError for an unknown name or a missing data_dir, CompLeakError for data that
    cannot be used.
    """
    source = _source(name)
    if image_size < SMALLEST:
        raise UsageError(f"--image_size {image_size}: choose {SMALLEST} or more pixels")
    if source.needs_dir and data_dir is None:
        raise UsageError(f"{name} needs --data_dir, a folder with one sub-folder of pictures for each class")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise UsageError(f"--data_dir {shown(data_dir)}: there is no such folder")
    folders = _folders(cache_dir, run_dir)
    found = source.read(None if data_dir is None else Path(data_dir), folders)
    if source.classes and found.classes != source.classes:
        raise CompLeakError(f"--data_dir {shown(data_dir)}: its classes are {_some(found.classes)}; {source.label}'s "
                            f"are {_some(source.classes)} (use --dataset_name imagefolder for other pictures)")
    images, labels, facts = cache.read(found, name, image_size, folders)
    label = source.label or data_label or shown(Path(data_dir).resolve().name)
    data = Dataset(name, f"{label} ({facts.kind})" if facts.kind else label, images, np.array(labels, dtype=np.int64),
                   found.classes, source.statistics or (facts.mean, facts.std), facts.digest, facts.twins)
    if data.repeated:
        print(f"{data.label}: {data.repeated:,} of {len(labels):,} pictures equal an earlier one in every pixel at "
              f"{image_size}×{image_size}; a split keeps them together")
    return data


def at_hand(name, data_dir=None, cache_dir=None, run_dir=None):
    """Whether load() needs no download."""
    source = _source(name)
    return data_dir is not None or source.root is None or \
        source.root(None, _folders(cache_dir, run_dir)) is not None


def _source(name):
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[name]


def _folders(cache_dir, run_dir):
    """Folders of downloads and decoded pictures, the preferred one first."""
    first = cache.FOLDER if cache_dir is None else Path(cache_dir)
    return [first] if run_dir is None else [first, Path(run_dir) / "datasets"]


def _some(names):
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
