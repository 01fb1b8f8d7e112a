"""A mark of finished work: which files a stage left, so that their loss or change shows."""
from pathlib import Path

from common.errors import FileError
from common.files import read_json, write_json
from common.provenance import digest

HASHED = {".json", ".csv", ".md", ".tex", ".html"}  # small; of the others the size is kept


def write(path, run_dir, patterns):
    """Record the files below run_dir that the patterns name; FileNotFoundError for a pattern without one.

    The same files give the same bytes, so what depends on the mark can tell that nothing changed.
    """
    found = {}
    for pattern in patterns:
        files = sorted(Path(run_dir).glob(pattern))
        if not files:
            raise FileNotFoundError(f"the stage left no {Path(run_dir) / pattern}")
        found.update((str(file.relative_to(run_dir)), _state(file)) for file in files)
    write_json(path, found)


def broken(path, run_dir):
    """The first recorded file that is gone or differs, the mark itself if it cannot be read, None if all are there."""
    try:
        found = read_json(path)
    except FileError:
        return str(path)
    for name, state in found.items():
        file = Path(run_dir) / name
        if not file.is_file() or _state(file) != state:
            return str(file)
    return None


def _state(file):
    if file.suffix in HASHED:
        return digest(file.read_bytes())
    return file.stat().st_size
