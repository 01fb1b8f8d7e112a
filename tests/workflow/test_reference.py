"""Committed answers through the appendix's commands word for word: the committed numbers come out again.

tests/vectors/digits: answers of models that the code of commit 57e58f7 trained (see its README), so that any later
change of a number shows here.
"""
import importlib
import json
import shlex
import shutil
from types import SimpleNamespace

import pytest

from common.command import run as run_command
from common.errors import CompLeakError
from common.files import read_json, write_json
from workflow import reference
from workflow.answers import lay_out


@pytest.fixture(scope="module")
def packed(root):
    return root / "tests/vectors/digits"


def in_process(words, cwd, env):
    """A command's main, as subprocess.run would run it, without starting Python again."""
    script = words[2] if words[1] == "-m" else words[1].removesuffix(".py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPLEAK_RUN_DIR", env["COMPLEAK_RUN_DIR"])
        importlib.import_module(script).main(words[3 if words[1] == "-m" else 2:])
    return SimpleNamespace(returncode=0)


@pytest.fixture(scope="module")
def found(packed, tmp_path_factory):
    """Numbers of the committed answers; the command has compared them itself."""
    run_dir = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference.subprocess, "run", in_process)
        reference.main(["--reference", str(packed), "--run_dir", str(run_dir)])
    return reference.numbers(lay_out(packed, run_dir))


def test_every_attack_gives_the_committed_numbers(found, packed):
    expected = read_json(packed / "expected.json")
    count, lines = reference.differences(found, expected)
    assert not lines and count > 100
    for place in ("NR original", "NR pruning_0.6", "NR quantization_int8", "SR pruning_0.6", "SR quantization_int8",
                  "MR"):
        assert found["rates"][place].keys() == expected["rates"][place].keys(), f"{place}: make reference --accept"


@pytest.mark.parametrize(("name", "beyond"), [("metric_based_2", 2e-6), ("RMIA", 2e-6), ("train_based_2 (RF)", 0.0031),
                                              ("train_based_1 (LR)", 0.0031), ("calibrated", 0.0051)])
def test_a_number_beyond_what_is_allowed_ends_in_one_line(found, tmp_path, capsys, name, beyond):
    values = json.loads(json.dumps(found))
    rates = values["rates"]["NR pruning_0.6"][name]
    for step, code in ((beyond / 2.1, 0), (beyond / 2.1 + beyond, 1)):
        rates["auc"] += step
        write_json(tmp_path / "expected.json", values)
        with pytest.raises(SystemExit) as stop:
            run_command(lambda path: reference.compare(found, path), tmp_path / "expected.json")
        said = capsys.readouterr().err
        assert stop.value.code == code and said.count("\n") == code
    assert f"1 of {reference.differences(found, values)[0]} numbers differ" in said and f"{name}: auc" in said


def test_missing_numbers_are_differences(found, packed):
    lacking = {**found, "rates": {place: rates for place, rates in found["rates"].items() if place != "MR"}}
    count, lines = reference.differences(lacking, read_json(packed / "expected.json"))
    assert lines and all(line.startswith("MR, ") and line.endswith("auc is missing") for line in lines)


def test_one_changed_file_fails_in_one_line_before_anything_is_run(packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reference, "execute", lambda *_: pytest.fail("commands were run"))
    copy = shutil.copytree(packed, tmp_path / "copy")
    data = bytearray((copy / "pruning_0.6/target.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "pruning_0.6/target.npz").write_bytes(data)
    with pytest.raises(SystemExit) as stop:
        run_command(reference.main, ["--reference", str(copy), "--run_dir", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert stop.value.code == 1 and said.count("\n") == 1 and "pruning_0.6/target.npz is damaged" in said


def test_answers_that_are_not_there_are_not_reached_yet(tmp_path):
    with pytest.raises(CompLeakError, match="are not reached yet"):
        reference.main(["--reference", str(tmp_path / "none"), "--run_dir", str(tmp_path)])


def test_the_commands_are_the_appendix_ones(packed, tmp_path):
    texts = reference.commands(lay_out(packed, tmp_path))
    shared = "--dataset_name digits --model_name resnet18"
    assert texts == [
        f"python CompLeakNR.py {shared} --original",
        f"python CompLeakNR.py {shared} --compress --compress_name pruning --compress_degree 0.6",
        f"python CompLeakNR.py {shared} --compress --compress_name quantization --compress_degree int8",
        f"python CompLeakSR.py {shared} --original --compress --compress_name pruning --compress_degree 0.6",
        f"python CompLeakSR.py {shared} --original --compress --compress_name quantization --compress_degree int8",
        *(f"python -m {name} {shared}" for name in ("attacks.mr", *reference.PAGES))]


def test_a_command_that_fails_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(reference.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=2))
    with pytest.raises(CompLeakError, match="python x.py ended with exit code 2"):
        reference.execute([shlex.join(["python", "x.py"])], tmp_path)


def test_what_is_committed_is_small_and_names_no_machine(root):
    for path in (*(root / "results/reference").rglob("*"), *(root / "tests/vectors").rglob("*")):
        if path.is_file():
            assert path.stat().st_size <= 2_000_000, path
        if path.suffix == ".json" and "digits" in path.parts:
            assert not any(word in json.dumps(read_json(path)) for word in ("/root", "/tmp", "/home"))
