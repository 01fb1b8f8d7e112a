"""A stage run for the workflow: its exit code, its mark, its GPU, and that it does not outlive who started it."""
import os
import signal
import subprocess
import sys
import time

import pytest

from common.files import read_json, take
from workflow import seal

LEAVES = "import os, pathlib; p = pathlib.Path({folder!r}); p.mkdir(exist_ok=True); " \
         "(p / 'NR.json').write_text('{{}}'); (p / 'gpu').write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'unset'))"
# Says what it was sent; a stage script does the same through common.command.run.
WAITS = "import signal, sys, time, pathlib\n" \
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({told!r}).write_text('stopped'), sys.exit(130)))\n" \
        "pathlib.Path({up!r}).write_text('up')\ntime.sleep(60)"


def job(root, run_dir, *words, code="pass", **environment):
    mark = run_dir / ".workflow/stage.json"
    command = [sys.executable, "-m", "workflow.job", "--mark", mark, *words, "--", "-c", code]
    return subprocess.Popen(list(map(str, command)), cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "PYTHONPATH": str(root), **environment})


def wait_for(path, seconds=30):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)


def test_a_finished_stage_is_marked_with_what_it_left(root, tmp_path):
    done = job(root, tmp_path, "--left", "results/*.json", code=LEAVES.format(folder=str(tmp_path / "results")))
    assert done.wait() == 0
    mark = tmp_path / ".workflow/stage.json"
    assert list(read_json(mark)) == ["results/NR.json"]
    assert seal.broken(mark, tmp_path) is None
    (tmp_path / "results/NR.json").write_text("[]")
    assert seal.broken(mark, tmp_path) == str(tmp_path / "results/NR.json")


def test_a_failed_stage_is_not_marked_and_its_last_words_are_shown(root, tmp_path):
    (tmp_path / ".workflow").mkdir()
    failed = job(root, tmp_path, code="import sys; print('first'); sys.exit('the reason')")
    assert "the reason" in failed.communicate()[1] and failed.returncode == 1
    assert not (tmp_path / ".workflow/stage.json").exists()
    assert (tmp_path / ".workflow/stage.log").read_text().splitlines() == ["first", "the reason"]


def test_a_stage_that_left_nothing_is_not_marked(root, tmp_path):
    assert job(root, tmp_path, "--alone", "--left", "NR.json").wait() != 0
    assert not (tmp_path / ".workflow/stage.json").exists()


@pytest.mark.parametrize("words, visible, seen", [
    ((), None, "unset"), (("--cpu",), None, ""), (("--gpus", 2), None, "1"), (("--gpus", 2), "6,4", "4")])
def test_a_job_sees_one_free_gpu(root, tmp_path, words, visible, seen):
    environment = {"TMPDIR": str(tmp_path)} | ({"CUDA_VISIBLE_DEVICES": visible} if visible else {})
    folder = tmp_path / f"compleak-slots-{os.getuid()}"
    taken = take(folder / f"gpu_{visible[0] if visible else 0}.0")  # another job has the first GPU
    done = job(root, tmp_path, *words, code=LEAVES.format(folder=str(tmp_path / "results")), **environment)
    assert done.wait() == 0
    taken.close()
    assert (tmp_path / "results/gpu").read_text() == seen


def test_sigterm_reaches_the_stage(root, tmp_path):
    code = WAITS.format(told=str(tmp_path / "told"), up=str(tmp_path / "up"))
    running = job(root, tmp_path, "--alone", code=code)
    wait_for(tmp_path / "up")
    running.terminate()
    assert running.wait() == 130 and (tmp_path / "told").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_a_stage_does_not_outlive_a_killed_workflow(root, tmp_path):
    code = WAITS.format(told=str(tmp_path / "told"), up=str(tmp_path / "up"))
    running = job(root, tmp_path, "--alone", code=code)
    wait_for(tmp_path / "up")
    os.kill(running.pid, signal.SIGKILL)
    wait_for(tmp_path / "told")


def test_abbreviated_flags_are_refused(root, tmp_path):
    child = job(root, tmp_path, "--gpu", "0")
    assert "unrecognized arguments: --gpu" in child.communicate()[1] and child.returncode == 2
