"""Tiny-ImageNet: the official folders, or any copy as class folders."""
from pathlib import Path

from common.errors import CompLeakError
from data.folders import Listing, found_in, is_picture, list_pictures, listed
from data.names import class_name, shown
from data.pictures import size_and_format

CLASSES = 200


def tinyimagenet(data_dir, folders):
    """The Found of data_dir: the official train/<class>/images/ and val/ with its annotations, or class folders.

    The official test pictures have no labels and are left out. CompLeakError where there are not 200 classes.
    """
    train = data_dir / "train"
    official = train.is_dir() and any((Path(entry) / "images").is_dir() for entry in listed(train)[0])
    listing = list_official(data_dir) if official else list_pictures(data_dir)
    if len(listing.classes) != CLASSES:
        raise CompLeakError(f"--data_dir {shown(data_dir)}: found {len(listing.classes)} classes, Tiny-ImageNet has "
                            f"{CLASSES} (use --dataset_name imagefolder for other pictures)")
    return found_in(listing, size_and_format)


def list_official(folder):
    """The Listing of the official folders: training pictures by class, then validation ones by their file's lines."""
    classes = listed(folder / "train")[0]
    listing = Listing(folder, tuple(class_name(entry.name) for entry in classes))
    for number, entry in enumerate(classes):
        for picture in filter(is_picture, listed(Path(entry) / "images")[1]):
            listing.take(picture, number)
    if (folder / "val").is_dir():
        _take_validation(listing)
    if (folder / "test").is_dir():
        listing.leave_below(folder / "test", "test pictures, which have no labels")
    listing.refuse_empty()
    return listing


def _take_validation(listing):
    """Add the pictures of val/images/ that val_annotations.txt gives a class: lines of <picture> <tab> <class> …."""
    file, numbers = listing.folder / "val" / "val_annotations.txt", {c: i for i, c in enumerate(listing.classes)}
    pictures = {entry.name: entry for entry in listed(listing.folder / "val" / "images")[1] if is_picture(entry)}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CompLeakError(f"{shown(file)}: this file cannot be read ({shown(str(error))}); take it from "
                            "Tiny-ImageNet's archive") from error
    for line in lines:
        picture, name = (line.split("\t") + ["", ""])[:2]
        if picture not in pictures or name not in numbers:
            what = "picture" if picture not in pictures else "class"
            raise CompLeakError(f"{shown(file)}: the line {shown(line[:60])} names a {what} that is not there, or once "
                                "more; take the file and its pictures from Tiny-ImageNet's archive")
        listing.take(pictures.pop(picture), numbers[name])
    for entry in pictures.values():
        listing.leave("validation pictures without a class", entry.path)
