"""What comes in from outside: outputs that break, a checkout that cannot be written, archives, names and settings."""
import copy
import os
import random
import shutil
import subprocess
import sys

import chain
import pytest
import yaml

from common.errors import CompLeakError
from data import cache, official, sets
from workflow import plan

ARCHIVES, NAMES, SETTINGS = 20, 40, 300
ODD = [None, True, False, 0, 1, -1, 2.5, "", "x", "{seed}", "a}b", "\n", "it's", [], ["x"], {}, {"degrees": [0.5]},
       "1e-3", [1, 1], "../x", "auto", "cpu", "digits", 8, "0.6", [0.6, "0.60"],
       {"degrees": "0.6"}, {"lr": "nan", "epochs": 1}]


def test_an_output_that_breaks_stops_no_stage(tmp_path, same, tally):
    """A pipe that is closed and a full disk in turn, at every command of the run."""
    run_dir = tmp_path / "run"
    for number in range(len(chain.COMMANDS)):
        kind = ("closed", "full")[number % 2]
        code, said = chain.outcome(tmp_path / "log", chain.stage_with_broken_output, run_dir, number, kind)
        assert code == {"closed": 141, "full": 1}[kind] and "Traceback" not in said, said
        if kind == "full":
            assert "standard output: No space left on device: what was printed is lost" in chain.one_line(said)
        tally["outputs"] += 1
    same(run_dir)


def test_a_read_only_checkout_keeps_its_pictures_in_the_run_folder(tmp_path, root, cifar_like, tally):
    checkout, run_dir = tmp_path / "checkout", tmp_path / "run"
    shutil.copytree(root, checkout, ignore=shutil.ignore_patterns(
        ".*", "runs", "demo", "shared", "datasets", "results*", "tests", "__pycache__"))
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", checkout, checkout], capture_output=True).returncode:
        pytest.skip("a file system that is read-only needs root, and was refused here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", checkout], check=True)
        done = subprocess.run(
            [sys.executable, "train.py", "--dataset_name", "cifar10", "--data_dir", cifar_like, "--image_size", "8",
             "--train_size", "20", "--epochs", "1", "--lr", "0.01", "--batch_size", "10", "--device", "cpu",
             "--query_rows", "scored", "--no-sensitivity", "--run_dir", run_dir],
            cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True, text=True)
    finally:
        subprocess.run(["umount", checkout], check=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert list((run_dir / "datasets").glob("cifar10-8-*.npy"))
    tally["read-only"] += 1


def test_a_damaged_archive_is_named_and_stays(tmp_path, tally, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")
    archive, rng = tmp_path / official.cifar10.archive, random.Random(4)
    for case in range(ARCHIVES):
        archive.write_bytes(b"\x1f\x8b"[: rng.randrange(3)] + rng.randbytes(rng.choice((0, 1, 100, 10_000))))
        before = archive.read_bytes()
        named = {"data_dir": tmp_path} if case % 2 else {"cache_dir": tmp_path}
        with pytest.raises(CompLeakError, match="cifar-10-python.tar.gz is damaged or incomplete") as error:
            sets.load("cifar10", image_size=8, **named)
        assert "\n" not in str(error.value) and archive.read_bytes() == before
        tally["archives"] += 1


def test_names_of_any_bytes_are_the_same_in_every_locale(tmp_path, root, cifar_like, tally):
    rng, pictures = random.Random(5), sorted(cifar_like.rglob("*.jpg"))
    allowed = [byte for byte in range(1, 256) if byte not in b"/."]
    names = [bytes(rng.choices(allowed, k=rng.randint(1, 20))) for _ in range(NAMES)]
    for number, name in enumerate(names):
        folder = os.fsencode(tmp_path / "set") + b"/%d " % (number % 2) + names[number % 2]
        os.makedirs(folder, exist_ok=True)
        shutil.copy(pictures[number], folder + b"/%d " % number + name + b".jpg")
    said = []
    for words in ({}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = subprocess.run([sys.executable, "-m", "workflow.fetch", "--dataset_name", "imagefolder", "--image_size",
                               "8", "--data_dir", tmp_path / "set", "--cache_dir", tmp_path / f"cache{len(said)}"],
                              cwd=root, capture_output=True, env={**os.environ, "PYTHONPATH": str(root), **words})
        assert done.returncode == 0, done.stderr
        said.append([path.read_bytes() for path in sorted((tmp_path / f"cache{len(said)}").glob("*"))])
    assert said[0] == said[1] == said[2] and len(said[0]) == 2
    tally["names"] += NAMES


def test_settings_of_any_kind_pass_or_are_one_line(root, tally):
    rng = random.Random(6)
    defaults = yaml.safe_load(plan.DEFAULTS.read_text(encoding="utf-8"))
    passed = 0
    for _ in range(SETTINGS):
        config = copy.deepcopy(defaults)
        for name in rng.sample(list(config), rng.choice((1, 1, 2))):
            inner = isinstance(config[name], dict) and rng.random() < 0.7
            if inner:
                config[name][rng.choice(list(config[name]))] = rng.choice(ODD)
            else:
                config[name] = rng.choice(ODD)
        try:
            plan.check(config, 2)
        except ValueError as error:
            assert "\n" not in str(error), config
        else:
            passed += 1
            part = next(iter(plan.parts(config)))
            commands = [plan.train(config, 0, part), *(plan.compress(config, 0, technique, part)
                                                       for technique in plan.techniques(config))]
            assert not set("{}\n") & set("".join(commands)), config
    tally["settings"] += SETTINGS
    assert SETTINGS / 20 < passed < SETTINGS / 2
