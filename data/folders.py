"""Pictures in class folders: which files are read, in which order, and one line on what was left out."""
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.errors import CompLeakError
from data.cache import Found
from data.names import class_name, is_system, shown
from data.pictures import ENDINGS, pixels

PARTS = ("train", "val", "valid", "validation", "test")


@dataclass
class Listing:
    """The pictures of a folder: files [(path as text, class number)] in the order of the pool, class names.

    left_out: reason → the names of what is not read for it. What a system or a tool left (`is_system`) is no one's.
    """

    folder: Path
    classes: tuple = ()
    files: list = field(default_factory=list)
    left_out: dict = field(default_factory=dict)
    _stamp: object = field(default_factory=hashlib.sha256)

    def take(self, entry, number):
        """Add one picture, a directory entry, to a class; CompLeakError for a broken link and what is no file."""
        try:
            stat, regular = entry.stat(), entry.is_file()
        except OSError as error:
            raise CompLeakError(f"{shown(entry.path)}: this picture cannot be found ({error.strerror}; a broken link?)"
                                ": mend or remove it") from error
        if not regular:
            raise CompLeakError(f"{shown(entry.path)}: this is no file: remove it, or give it another ending")
        self.files.append((entry.path, number))
        self._stamp.update(os.fsencode(self._below(entry.path)))
        self._stamp.update(f"\0{number} {stat.st_size} {stat.st_mtime_ns}\n".encode())

    def leave(self, reason, path):
        """Note one file that is not read."""
        self.left_out.setdefault(reason, []).append(self._below(path))

    def leave_below(self, folder, reason):
        """Note every picture that lies somewhere below a folder that is not read."""
        for below, names, files in os.walk(folder):
            names[:] = sorted(name for name in names if not is_system(name))
            for name in sorted(files):
                if not is_system(name) and os.path.splitext(name)[1].lower() in ENDINGS:
                    self.leave(reason, os.path.join(below, name))

    def refuse_empty(self):
        """CompLeakError names a class of which no picture was taken."""
        empty = set(range(len(self.classes))) - {number for _, number in self.files}
        if empty:
            raise CompLeakError(f"{shown(self.folder)}: no pictures in class {self.classes[min(empty)]!r} (endings "
                                f"read: {' '.join(sorted(ENDINGS))})")

    def _below(self, path):
        return path.removeprefix(os.path.join(self.folder, ""))

    @property
    def stamp(self):
        """Changes with every name, size, time and class of a picture."""
        return self._stamp.hexdigest()

    def note(self):
        """One line on what was left out, or None."""
        told = [f"{len(names):,} {reason} ({', '.join(map(shown, names[:3]))}{', …' if len(names) > 3 else ''})"
                for reason, names in self.left_out.items()]
        return f"{shown(self.folder)}: left out {'; '.join(told)}" if told else None


def listed(folder):
    """(sub-folders, files) of a folder as directory entries in the order of their bytes, no system's among them."""
    try:
        with os.scandir(folder) as entries:
            kept = sorted((e for e in entries if not is_system(e.name)), key=lambda e: os.fsencode(e.name))
    except OSError as error:
        raise CompLeakError(f"{shown(folder)}: this folder cannot be read ({error.strerror})") from error
    split = {True: [], False: []}
    for entry in kept:
        split[_is_folder(entry)].append(entry)
    return split[True], split[False]


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: `Listing.take` names it if it is meant to be a picture
        return False


def is_picture(entry):
    return os.path.splitext(entry.name)[1].lower() in ENDINGS


def list_pictures(folder):
    """The Listing of folder/<class>/<picture>, or of folder/<part>/<class>/<picture> for those of PARTS that are there.

    A part, its name in any case, has class folders; a folder of that name with pictures in it is a class like any
    other. Raises CompLeakError for fewer than two classes, a class without pictures, and a picture that is no file.
    """
    listing = Listing(Path(folder))
    folders, files = listed(folder)
    parts = _parts(folders)
    inside, outside = [folders], list(files)
    if parts:
        inside = []
        for part in parts:
            below, beside = listed(part)
            inside.append(below)
            outside += beside
        for other in (entry for entry in folders if entry not in parts):
            listing.leave_below(other, f"pictures beside {parts[0].name}/")
    for entry in filter(is_picture, outside):
        listing.leave("pictures outside class folders", entry.path)
    listing.classes = tuple(sorted({class_name(entry.name) for part in inside for entry in part}))
    if len(listing.classes) < 2:
        raise CompLeakError(f"{shown(folder)}: found {len(listing.classes)} class folder(s), at least 2 are needed "
                            "(folder/<class>/<picture>, or folder/train/<class>/<picture>)")
    numbers = {name: number for number, name in enumerate(listing.classes)}
    for part in inside:
        for entry in sorted(part, key=lambda entry: numbers[class_name(entry.name)]):
            _take_class(listing, entry, numbers[class_name(entry.name)])
    listing.refuse_empty()
    return listing


def _parts(folders):
    """Of these folders those that are parts, in PARTS' order; Train is train."""
    named = {entry.name.lower(): entry for entry in folders}
    return [named[part] for part in PARTS if part in named and listed(named[part])[0]]


def _take_class(listing, folder, number):
    folders, files = listed(folder)
    for entry in files:
        if is_picture(entry):
            listing.take(entry, number)
        else:
            listing.leave("files with other endings", entry.path)
    for below in folders:
        listing.leave_below(below, "pictures in folders below a class")


def class_folders(folder, kind=None):
    """The Found of a folder of class folders; kind(path of a picture) → how the copy is encoded, for its label."""
    return found_in(list_pictures(folder), kind)


def found_in(listing, kind=None):
    """The Found of a Listing, whose one line on what was left out is printed."""
    note = listing.note()
    if note:
        print(note)

    def decode(size):
        bar = tqdm(listing.files, desc="decoding pictures", unit="file", mininterval=1)
        return (pixels(path, size) for path, _ in bar), np.array([number for _, number in listing.files])

    return Found(listing.folder, listing.stamp, listing.classes, decode,
                 None if kind is None else lambda: kind(listing.files[0][0]))
