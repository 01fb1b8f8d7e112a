"""data/names.py: every name can be shown, in every locale."""
import os
import subprocess
import sys

import pytest

from data.names import class_name, is_system, path_to_text, shown, text_to_path
from models.run import Settings

PROGRAM = """
import sys
from data import cache, names, sets
from pathlib import Path
from common.streams import lasting
cache.FOLDER = Path(sys.argv[2])
with lasting():
    data = sets.load("imagefolder", sys.argv[1], image_size=8)
    again = names.text_to_path(names.path_to_text(sys.argv[1]))
    assert sets.load("imagefolder", again, chr(233), 8).label == chr(233), "a label is text in every locale"
    print(f"{data.label}: {ascii(data.classes)} {data.digest} {data.repeated}")
"""


@pytest.mark.parametrize(("name", "text"), [
    ("plain", "plain"), ("caf\u00e9", "caf\u00e9"), (os.fsdecode(b"caf\xe9"), "caf\\xe9"), ("a\nb", "a\\nb"),
    ("\x1b[31mred", "\\x1b[31mred"), ("", ""),
])
def test_a_name_is_shown_in_one_printable_line(name, text):
    assert shown(name) == text


def test_one_class_has_one_name():
    assert class_name("cafe\u0301") == class_name("caf\u00e9") == "caf\u00e9"


@pytest.mark.parametrize(("name", "system"), [
    (".git", True), ("._target.npz", True), ("original/._target.npz", True), ("__MACOSX", True), ("@eaDir", True),
    ("Thumbs.db", True), ("target.npz", False), ("cat", False), ("a.b", False), ("system", False)])
def test_what_a_system_left_is_known_by_its_name(name, system):
    assert is_system(name) == system


@pytest.mark.parametrize("environment", [
    {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"},
    {"PYTHONIOENCODING": "latin-1"}], ids=["C", "ASCII", "UTF-8", "Latin-1 output"])
def test_names_are_the_same_in_every_locale(root, tmp_path, write_pictures, load, environment):
    folder = tmp_path / "s\u00e9t"
    write_pictures(folder, ("caf\u00e9", "\u4e2d"), 1)
    os.rename(folder / "\u4e2d" / "0.png", os.fsencode(folder / "\u4e2d") + b"/\xff.png")
    (folder / "caf\u00e9" / "\u00fc.txt").touch()
    expected = load(folder)
    run = subprocess.run([sys.executable, "-c", PROGRAM, folder, tmp_path / "cache"], cwd=root, capture_output=True,
                         env={**os.environ, "PYTHONPATH": str(root), **environment}, check=True)
    lines = run.stdout.decode("latin-1").splitlines()
    assert len(lines) == 3 and "1 files with other endings" in lines[0]
    assert f"{ascii(expected.classes)} {expected.digest} 0" in lines[2]


def test_a_path_is_kept_as_the_same_text_in_every_locale(monkeypatch):
    path = os.fsdecode(b"/s\xe9t/\xc3\xbc")
    text = path_to_text(path)
    assert text == "/s\udce9t/\u00fc" and text_to_path(text) == path
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("latin-1"))
    monkeypatch.setattr(os, "fsdecode", lambda name: name.decode("latin-1"))
    assert path_to_text("/s\u00e9t/\u00c3\u00bc") == text and text_to_path(text) == "/s\u00e9t/\u00c3\u00bc"
    settings = Settings(data_dir="/s\u00e9t")
    assert settings.as_json()["data_dir"] == "/s\udce9t" and Settings.of_json(settings.as_json()) == settings
