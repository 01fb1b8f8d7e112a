"""common/command.py and common/streams.py: flags, help, and standard output that breaks, is full or lacks letters."""
import errno
import io
import os
import re
import subprocess
import sys

import pytest

from common.command import Parser
from common.streams import Lasting
from models.arguments import parser, training_parser

WORK = """
import sys
from pathlib import Path
from tqdm import tqdm
from common.command import run

def main(argv):
    for step in tqdm(range(2000)):
        print(f"{step}: a line of a command that trains for long")
    Path(sys.argv[1]).write_text("written")

run(main)
"""


def started(root, *words, shell="{command}", **environment):
    """A finished Python process, in a line of bash that says what its output goes to."""
    line = shell.format(command=" ".join(f"'{word}'" for word in (sys.executable, *words)))
    return subprocess.run(["bash", "-c", line], cwd=root, capture_output=True, text=True, errors="replace",
                          env={**os.environ, "PYTHONPATH": str(root), **environment})


@pytest.mark.parametrize("pipe", ["{command} | head -1; exit ${{PIPESTATUS[0]}}",
                                  "{command} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"])
def test_a_closed_pipe_ends_quietly_when_the_files_are_written(root, tmp_path, pipe):
    (tmp_path / "work.py").write_text(WORK)
    done = started(root, tmp_path / "work.py", tmp_path / "left", shell=pipe)
    assert done.returncode == 141 and (tmp_path / "left").read_text() == "written"
    assert done.stdout.count("\n") <= 2 and "0: a line" in done.stdout
    assert "Traceback" not in done.stderr and "rror" not in done.stderr and "xception" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_full_standard_output_is_one_line_when_the_files_are_written(root, tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    done = started(root, tmp_path / "work.py", tmp_path / "left", shell="{command} > /dev/full")
    assert done.returncode == 1 and (tmp_path / "left").read_text() == "written"
    last = done.stderr.replace("\r", "\n").splitlines()[-1]
    assert last == "error: standard output: No space left on device: what was printed is lost, files are written"


def test_help_into_a_closed_pipe_is_quiet(root):
    done = started(root, "train.py", "--help", shell="{command} | true; exit ${{PIPESTATUS[0]}}")
    assert done.returncode in (0, 141) and not done.stderr


@pytest.mark.parametrize("words", [{"PYTHONIOENCODING": "ascii"},
                                   {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
@pytest.mark.parametrize("command", [("train.py", "--help"), ("-m", "workflow.cost", "--help"),
                                     ("CompLeakAudit.py", "--outputs", "Bäume…")])
def test_every_letter_is_printed_or_escaped_in_any_locale(root, words, command):
    done = started(root, *command, **words)
    assert "Traceback" not in done.stderr and done.returncode == (2 if "--outputs" in command else 0)
    if command[0] == "train.py":
        assert r"results_pruning/, \u2026 lie" in done.stdout


def test_a_stream_that_fails_keeps_its_first_error_and_raises_none():
    class Broken:
        def write(self, text):
            raise OSError(errno.EPIPE, "Broken pipe")

        flush = write

    stream = Lasting(Broken())
    assert not stream.left and stream.write("four") == 4 and stream.left
    stream.failed = OSError(errno.ENOSPC, "full")
    stream.write("more")
    assert not stream.left and stream.failed.errno == errno.ENOSPC


def test_a_name_that_is_not_utf8_is_shown_escaped_once():
    stream = Lasting(io.StringIO())
    stream.write(os.fsdecode(b"caf\xe9 \xc3\xbc\n"))
    assert stream.getvalue() == "caf\\xe9 \u00fc\n"


def test_abbreviated_flags_are_refused(capsys):
    p = Parser()
    p.add_argument("--epochs", type=int)
    assert p.parse_args(["--epochs", "3"]).epochs == 3
    with pytest.raises(SystemExit):
        p.parse_args(["--epoch", "3"])
    assert capsys.readouterr().err == "error: unrecognized arguments: --epoch 3 (see --help)\n"


def test_help_says_each_default_once():
    for p in (parser("reads"), parser("reads several", several_runs=True), training_parser("trains", 0.1, "--e", 3)):
        entries = re.split(r"\n  (?=-)", p.format_help())
        assert len(entries) > 8 and not [entry for entry in entries if entry.count("(default") > 1]
        assert "None)" not in p.format_help() and "False)" not in p.format_help()
        assert next(entry for entry in entries if entry.startswith("--batch_size")).endswith("(default: 128)")
