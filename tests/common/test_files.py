"""models/files.py: one writer at a time, and JSON that is known again when it was changed."""
import ast
import json
import multiprocessing
import os
import signal

import pytest

from common.errors import CompLeakError
from common.files import atomic, locked, read_json, write_json


def hold(path, connection):
    with locked(path):
        connection.send("held")
        connection.recv()


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock on tmp_path / "target" until it is told or killed."""
    mine, its = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path / "target", its))
    process.start()
    assert mine.recv() == "held"
    yield process
    process.kill()
    process.join()


def test_a_second_process_is_told_and_a_killed_one_leaves_no_lock(tmp_path, holder):
    target = tmp_path / "target"
    with pytest.raises(CompLeakError, match="target: another process is working on this; wait"), locked(target):
        pytest.fail("both are in")
    with locked(tmp_path / "shadow_0"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with locked(target) as path:
        assert path == target
        with pytest.raises(CompLeakError), locked(target):
            pytest.fail("both are in")
    assert not list(tmp_path.iterdir()), "no lock stays behind"


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    with atomic(folder / "weights.pt") as beside:
        beside.touch()
    names = {beside.name: False, ".weights.pt.123": False, ".progress.pt.4": False, "weights.pt": True, ".notes": True}
    for name in names:
        (folder / name).touch()
    for name in (".NR.json.5", ".NR_scores.npz.6"):
        names[name] = False
        (tmp_path / name).touch()
    (tmp_path / ".MR.json.7").touch()
    with locked(folder), locked(tmp_path / "NR.json"):
        left = {path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")}
    assert left == {name for name, stays in names.items() if stays} | {".MR.json.7"}


def test_two_writers_with_one_process_number_write_apart(tmp_path):
    """As two containers that share a disk may."""
    path = tmp_path / "NR.json"
    with atomic(path) as one, atomic(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert (one.read_text(), other.read_text()) == ("one", "other")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_where_there_can_be_no_lock_the_work_is_done_without(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / "file").touch()
    for path in (tmp_path / "target", tmp_path / "file" / "target"):
        with locked(path):
            done = True
        assert done


def test_a_changed_number_in_json_is_refused(tmp_path):
    path, value = tmp_path / "NR.json", {"auc": 0.75, "rows": [1, None, "ä"], "nested": {"x": 1e-05}}
    write_json(path, value)
    assert read_json(path) == value
    path.write_text(path.read_text().replace("0.75", "0.95"))
    with pytest.raises(CompLeakError, match="NR.json is damaged .its contents changed.$"):
        read_json(path)
    path.write_text(json.dumps(value))
    assert read_json(path) == value, "files from before there were checksums are read"


def test_an_error_names_the_file_and_not_the_one_beside_it(tmp_path):
    with pytest.raises(OSError) as error, atomic(tmp_path / "a.npz"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "a.npz")
    with pytest.raises(OSError) as error, atomic(tmp_path / "a.npz") as beside:
        open(beside / "no folder", "w")
    assert error.value.filename != str(tmp_path / "a.npz")


def unnamed(path):
    """Lines of a file on which text is read or written in whatever encoding the locale has."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        modes = [one.value for one in node.args[1:2] if isinstance(one, ast.Constant)]
        if name in ("read_text", "write_text") or (isinstance(node.func, ast.Name) and name == "open"
                                                   and "b" not in (modes or [""])[0]):
            yield node.lineno


def test_every_text_file_is_read_and_written_as_utf8(root):
    found = {str(path.relative_to(root)): lines for folder in ("common", "data", "models", "attacks", "evaluation",
                                                               "workflow", "benchmarks", "pruning", "quantization")
             for path in (root / folder).rglob("*.py") if (lines := list(unnamed(path)))}
    assert not found


def test_a_bit_turned_anywhere_in_json_is_refused_or_harmless(tmp_path):
    """In the checksum's own name too, without which a file would count as an older one that never had it."""
    path, value = tmp_path / "a.json", {"a": 1, "b": [1, 2]}
    write_json(path, value)
    raw = path.read_bytes()
    for at in range(len(raw)):
        for bit in range(8):
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1:])
            try:
                assert read_json(path) == value, (at, bit)
            except CompLeakError:
                pass
