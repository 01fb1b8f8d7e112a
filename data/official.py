"""CIFAR-10 and CIFAR-100: the official files, downloaded or named with --data_dir, or a copy as class folders."""
import tarfile
from dataclasses import dataclass

import numpy as np
from PIL import Image

from common.errors import CompLeakError
from data import cache
from data.folders import class_folders
from data.names import shown
from data.pictures import encoding, resized

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100_CLASSES = tuple("""
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm""".split())


@dataclass(frozen=True)
class Official:
    """A reader of one of torchvision's CIFAR classes: its name there, classes, folder, archive and the archive's MD5.

    torchvision unpickles a file only where its MD5 is the published one.
    """

    label: str
    torchvision: str
    classes: tuple
    batches: str
    archive: str
    md5: str

    def __call__(self, data_dir, folders):
        """The Found of data_dir, or of the official files in one of the folders, downloaded to the first if need be."""
        root = self.root(data_dir, folders)
        if root is None and data_dir is not None:
            if any((data_dir / file).is_file() for file in ("batches.meta", "meta")):
                raise CompLeakError(f"--data_dir {shown(data_dir)}: these look like {self.label}'s batches under"
                                    f" another name; call their folder {self.batches}")
            return class_folders(data_dir, encoding)
        root = root or cache.writable(folders)
        return cache.Found(root, cache.OFFICIAL, self.classes, lambda size: self._decode(root, size))

    def root(self, data_dir, folders):
        """The folder in which the official files lie, or None; data_dir may be the batches' folder itself."""
        if data_dir is not None and data_dir.resolve().name == self.batches:
            return data_dir.resolve().parent
        for place in folders if data_dir is None else [data_dir]:
            if (place / self.batches).exists() or (place / self.archive).exists():
                return place
        return None

    def _decode(self, root, size):
        from torchvision import datasets

        kind, spoilt = getattr(datasets, self.torchvision), self._spoilt(root)
        try:
            parts = [kind(root, train=train, download=True) for train in (True, False)]
        except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
            raise CompLeakError(f"{self.label} could not be downloaded ({error}){spoilt}; put {self.archive} into "
                                f"{shown(root)} by hand, or name a copy as class folders with --data_dir") from error
        pictures = (resized(Image.fromarray(image), size) for part in parts for image in part.data)
        return pictures, np.concatenate([part.targets for part in parts])

    def _spoilt(self, root):
        """What a failed download has to say of the batches that lie there; CompLeakError where it is the archive.

        An archive with another MD5 is not opened, and never replaced: it may be the user's only copy.
        """
        from torchvision import datasets
        from torchvision.datasets.utils import check_integrity

        kind, archive = getattr(datasets, self.torchvision), root / self.archive
        other = [name for name, md5 in kind.train_list + kind.test_list
                 if not check_integrity(root / self.batches / name, md5)]
        if other and archive.exists() and not check_integrity(archive, self.md5):
            raise CompLeakError(f"{shown(archive)} is damaged or incomplete (its MD5 is not {self.md5}): delete it and "
                                "the same command downloads it again, or copy it there once more")
        present = [name for name in other if (root / self.batches / name).exists()]
        return f"; {shown(root / self.batches / present[0])} is damaged" if present else ""


cifar10 = Official("CIFAR-10", "CIFAR10", CIFAR10_CLASSES, "cifar-10-batches-py", "cifar-10-python.tar.gz",
                   "c58f30108f718f92721af3b95e74349a")
cifar100 = Official("CIFAR-100", "CIFAR100", CIFAR100_CLASSES, "cifar-100-python", "cifar-100-python.tar.gz",
                    "eb9058c3a382ffc7106e4002c42a8d85")
