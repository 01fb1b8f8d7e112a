"""The lock behind GPU slots: never two holders, and a holder's death frees its slot."""
import os
import signal
import subprocess
import sys
import time

import pytest

from common.files import BUSY, take
from workflow import slots

# Takes a slot, says so in a file that only one process may create, holds it a moment; a second holder would fail.
HOLDER = """
import os, sys, time
from workflow import slots
where, turns = sys.argv[1], int(sys.argv[2])
for _ in range(turns):
    with slots.held(slots.gpu_slots(2, 2), where) as (gpu, lock):
        name = os.readlink(f"/proc/self/fd/{lock}") + ".busy"
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
        time.sleep(0.02)
        os.unlink(name)
        print(gpu, os.path.basename(name), flush=True)
"""
KEEPER = """
import subprocess, sys, time
from workflow import slots
with slots.held([("0", "only")], sys.argv[1]) as (gpu, lock):
    child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"],
                             pass_fds=[lock] if sys.argv[2] == "shared" else [])
    print(child.pid, flush=True)
    time.sleep(60)
"""


def start(root, code, *words):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], cwd=root, stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(root)})


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the test names descriptors through /proc")
def test_many_processes_never_share_a_slot(root, tmp_path):
    holders = [start(root, HOLDER, tmp_path, 4) for _ in range(10)]
    said = [holder.communicate(timeout=60)[0].split("\n") for holder in holders]
    assert all(holder.returncode == 0 for holder in holders)
    used = [line.split() for lines in said for line in lines if line]
    assert len(used) == 40 and {gpu for gpu, _ in used} == {"0", "1"}
    assert {name for _, name in used} <= {f"gpu_{gpu}.{layer}.busy" for gpu in "01" for layer in "01"}
    assert all(name.startswith(f"gpu_{gpu}.") for gpu, name in used)


@pytest.mark.parametrize("kept", ["alone", "shared"])
def test_a_killed_holder_frees_its_slot_once_its_job_ends_too(root, tmp_path, kept):
    keeper = start(root, KEEPER, tmp_path, kept)
    said = {keeper.stdout.readline().strip(), keeper.stdout.readline().strip()} - {"up"}
    job = int(said.pop())
    try:
        assert take(tmp_path / "only") is BUSY
        keeper.kill()
        keeper.wait()
        if kept == "shared":  # the job still uses the GPU
            assert take(tmp_path / "only") is BUSY
    finally:
        os.kill(job, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (lock := take(tmp_path / "only")) is BUSY and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lock is not BUSY
    lock.close()


def test_a_slot_is_waited_for(tmp_path):
    first = take(tmp_path / "a")
    with slots.held([("x", "a"), ("y", "b")], tmp_path) as (value, _):
        assert value == "y"
        assert take(tmp_path / "b") is BUSY
    first.close()
    with slots.held([("x", "a")], tmp_path) as (value, _):
        assert value == "x"


def test_each_gpu_is_used_once_before_any_twice():
    assert [gpu for gpu, _ in slots.gpu_slots(2, 2)] == ["0", "1", "0", "1"]
    assert [gpu for gpu, _ in slots.gpu_slots(2, 1, visible="5,3,1")] == ["5", "3"]
    assert len({name for _, name in slots.gpu_slots(3, 4)}) == 12
    with pytest.raises(ValueError, match="names 1"):
        slots.gpu_slots(2, 1, visible="7")
