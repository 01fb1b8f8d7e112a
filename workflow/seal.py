"""A mark of finished work: which files a stage left, so that their loss or change shows."""
import json
from pathlib import Path

from common.files import atomic
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
    with atomic(path) as beside:
        beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def broken(path, run_dir):
    """The first recorded file that is gone or differs, the mark itself if it cannot be read, None if all are there."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        for name, state in found.items():
            file = Path(run_dir) / name
            if not file.is_file() or _state(file) != state:
                return str(file)
    except (ValueError, AttributeError):
        return str(path)
    return None


def _state(file):
    if file.suffix in HASHED:
        return digest(file.read_bytes())
    return file.stat().st_size
