"""Whether run folders hold the same results: every number, weight and table, times aside."""
import json
import sys
from pathlib import Path

import numpy as np

from common.command import Parser, run
from common.errors import CompLeakError
from common.files import read_json
from models.hints import mending

TIMES = {"seconds"}  # keys whose values say how long something took
ENDINGS = {".json", ".jsonl", ".npz", ".pt", ".csv", ".md", ".tex", ".png"}


def results(run_dir):
    """{name below the folder: path} of every result file; the workflow's own folder is none."""
    return {str(path.relative_to(run_dir)): path for path in sorted(Path(run_dir).rglob("*"))
            if path.suffix in ENDINGS and not any(part.startswith(".") for part in path.relative_to(run_dir).parts)}


def differences(one, other):
    """(files compared, [one line a difference]) of two run folders."""
    left, right = results(one), results(other)
    found = [f"{name}: only in {one if name in left else other}" for name in sorted(left.keys() ^ right.keys())]
    shared = sorted(left.keys() & right.keys())
    for name in shared:
        try:
            if not _same(left[name], right[name]):
                found.append(f"{name}: differs")
        except CompLeakError as error:
            found.append(f"{name}: {error}")
    return len(shared), found


def _same(one, other):
    if one.suffix == ".npz":
        return _same_arrays(one, other)
    if one.suffix == ".json":
        with mending("its stage again"):
            return _timeless(read_json(one)) == _timeless(read_json(other))
    if one.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in one.read_text(encoding="utf-8").splitlines()] == \
            [_timeless(json.loads(line)) for line in other.read_text(encoding="utf-8").splitlines()]
    return one.read_bytes() == other.read_bytes()


def _same_arrays(one, other):
    with np.load(one, allow_pickle=False) as left, np.load(other, allow_pickle=False) as right:
        return left.files == right.files and all(
            left[name].dtype == right[name].dtype and left[name].shape == right[name].shape
            and left[name].tobytes() == right[name].tobytes() for name in left.files)


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def main(argv=None):
    p = Parser(description=__doc__)
    p.add_argument("one", help="a run folder, or a folder of several")
    p.add_argument("other", help="the folder to compare it with")
    args = p.parse_args(argv)
    count, found = differences(args.one, args.other)
    print("\n".join([*found, f"{count} result files compared, {len(found)} differ"]))
    if not count:
        print(f"error: {args.one} and {args.other} share no result file", file=sys.stderr)
    sys.exit(1 if found or not count else 0)


if __name__ == "__main__":
    run(main)
