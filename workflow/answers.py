"""Answers small enough to be kept in the tree: each finished model's on the scored rows, packed and laid out again.

`pack` may follow every finished model: it adds those that are not packed yet and leaves the others as they are.
`lay_out` makes the folders of a run of them, on which attacks, tables, claims and report run without pictures, weights
or training. A packed model is original/target.npz with logits [n, c] float32 and labels [n], the rows being those that
attacks score in any world, ascending; original/target.json says what they were made from and names their bytes.
"""
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from attacks.inputs import check_answers, read_sensitivity
from common.command import run as run_command
from common.errors import CompLeakError, FileError, UsageError
from common.files import atomic, load_arrays, read_json, read_npz, save_arrays, write_json
from common.paths import Layout, Version
from common.provenance import digest
from data.splits import from_json, to_json
from models.answering import query_index
from models.arguments import layout_of, parser
from models.compression import ordered
from models.hints import mending
from models.queries import losses
from models.run import Run

ONE, ALL = 2_000_000, 50_000_000  # bytes at most: of one file, of a folder of answers
MOVED = "_sensitivity"


def pack(run, folder):
    """Pack every finished model of a run that is not there yet; gives one line on each that was.

    run: of any code that saves format 1; models still in training are passed over. folder: of the packed answers.
    Raises CompLeakError for files beyond `ONE` or `ALL`, and for answers other than those that are packed.
    """
    folder, lines = Path(folder), []
    _write_split(run, folder)
    for world in run.split.worlds:
        for version in ordered(run.layout.present(world.name)):
            lines += _pack_model(run, folder, version, world)
    return lines


def _write_split(run, folder):
    """split.json: the run's settings and split, without the place of its pictures."""
    values = {"dataset": run.layout.dataset, "model": run.layout.model,
              "run": replace(run.settings, data_dir=None).as_json(), **to_json(run.split)}
    path = folder / "split.json"
    if not path.exists():
        write_json(path, values)
    elif any(read_json(path).get(name) != values[name] for name in ("dataset", "model", "worlds", "data_fingerprint")):
        raise CompLeakError(f"{folder} holds answers of another run than {run.layout.root()}: name another --reference")


def _pack_model(run, folder, version, world):
    queries = run.queries(version, world.name)
    check_answers(run, version, world, queries)
    config, path = run.config(version, world.name), run.layout.file(version, world.name, "queries.npz")
    index = query_index(run.split, "scored")[1]
    logits, labels, member = queries.at(index)
    if config["weights"] != queries.meta["weights"] or not np.array_equal(member, np.isin(index, world.members)):
        raise run.stale(path, version, "has other members than the split, or is of another model than config.json")
    meta = {name: value for name, value in queries.meta.items() if name not in ("format", "rows")}
    here = folder / str(version) / world.name
    lines = _write(here, {"logits": logits, "labels": labels.astype(np.min_scalar_type(labels.max()))},
                   {"meta": meta, "config": config})
    moved, _ = read_sensitivity(run, version, world, queries)
    if moved is not None:
        _, meta = load_arrays(path.with_name("sensitivity.npz"), ())
        meta.pop("format")
        lines += _write(here.with_name(here.name + MOVED), {"sensitivity": moved}, {"meta": meta})
    return lines


def _write(here, arrays, values):
    """The arrays as `here`.npz and the values with the arrays' name as .json, unless they are there."""
    path, named = here.with_suffix(".npz"), digest(*arrays.values())
    if here.with_suffix(".json").exists():
        if read_json(here.with_suffix(".json"))["digest"] != named:
            raise CompLeakError(f"{path} holds other answers than the run: remove it and its .json to pack these")
        return []
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)
    size, beside = made.getbuffer().nbytes, sum(file.stat().st_size for file in here.parents[1].rglob("*.npz"))
    if size > ONE:
        raise CompLeakError(f"{path} would take {size:,} bytes, a file may have {ONE:,}: score fewer rows")
    if size + beside > ALL:
        raise CompLeakError(f"{here.parents[1]} would take {size + beside:,} bytes, it may have {ALL:,}: "
                            "name another --reference")
    with atomic(path) as written:
        written.write_bytes(made.getbuffer())
    write_json(here.with_suffix(".json"), {**values, "digest": named})
    return [f"{path}: {size:,} bytes"]


def lay_out(folder, run_dir, sensitivities=False):
    """The folders of a run of the packed models in `folder`; gives the Run.

    A version is laid out when every world's model is packed. sensitivities: whether those that are there come along.
    Raises CompLeakError for a folder or a file that is missing, was changed, or would replace another run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CompLeakError(f"{folder} is not there: these answers are not reached yet, or name another --reference")
    with mending(_restored(folder)):
        saved = read_json(folder / "split.json")
    run = Run(Layout(Path(run_dir), saved.pop("dataset"), saved.pop("model")))
    split = from_json(saved)
    if run.path.exists() and (run.split.digest != split.digest or any(run.layout.root().rglob("*.pt"))):
        raise UsageError(f"{run.layout.root()} holds another run: name another --run_dir")
    write_json(run.path, saved)
    for version, parts in packed(folder).items():
        lacking = [world.name for world in split.worlds if world.name not in parts]
        for world in split.worlds if not lacking else ():
            with mending(_restored(folder)):
                _lay_out_model(run, folder / str(version) / world.name, version, world, sensitivities)
        if lacking:
            print(f"{version} is left out: {', '.join(lacking)} not packed yet")
    return Run(run.layout)


def packed(folder):
    """{Version: names of the worlds that are packed}, in the paper's order."""
    found = {}
    for path in sorted(Path(folder).glob("*/*.json")):
        if not path.stem.endswith(MOVED):
            found.setdefault(Version.named(path.parent.name), []).append(path.stem)
    return {version: found[version] for version in ordered(found)}


def _restored(folder):
    return f"git checkout -- {folder}"


def _lay_out_model(run, here, version, world, sensitivities):
    values, arrays = _read(here)
    index, labels = query_index(run.split, "scored")[1], arrays["labels"].astype(np.int64)
    save_arrays(run.layout.file(version, world.name, "queries.npz"), {**values["meta"], "rows": "scored"},
                logits=arrays["logits"], losses=losses(arrays["logits"], labels), labels=labels, index=index,
                member=np.isin(index, world.members))
    write_json(run.layout.file(version, world.name, "config.json"), values["config"])
    path, beside = run.layout.file(version, world.name, "sensitivity.npz"), here.with_name(here.name + MOVED)
    path.unlink(missing_ok=True)
    if sensitivities and beside.with_suffix(".json").exists():
        values, arrays = _read(beside)
        save_arrays(path, values["meta"], index=np.sort(world.evaluation), **arrays)


def _read(here):
    """(values of `here`.json, arrays of .npz), which must be those that were packed."""
    values, path = read_json(here.with_suffix(".json")), here.with_suffix(".npz")
    arrays, _ = read_npz(path)
    if digest(*arrays.values()) != values.get("digest"):
        raise FileError.damaged(path, "its contents changed")
    return values, arrays


def main(argv=None):
    p = parser(__doc__.split("\n")[0])
    p.add_argument("--reference", type=Path, required=True, help="folder of the packed answers; no default")
    args = p.parse_args(argv)
    lines = pack(Run(layout_of(args)), args.reference)
    versions = packed(args.reference)
    print("\n".join([*lines, f"{len(lines)} file(s) packed; {args.reference} now holds "
                     f"{sum(map(len, versions.values()))} model(s): {', '.join(map(str, versions))}"]))


if __name__ == "__main__":
    run_command(main)
