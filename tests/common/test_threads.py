"""common/threads.py: who chooses how threads wait, that it comes in time, and the hint."""
import os
import subprocess
import sys
import time

import pytest

from common.threads import busy, fewer_threads_hint, wait_passively

# Prints what torch would find when it is imported, and goes no further.
AT_TORCH = """
import os, sys
class AtTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, AtTorch())
import {module}
"""


@pytest.mark.parametrize("module", ["train", "pruning.prune", "clustering.clustering", "quantization.qat", "CompLeakNR",
                                    "CompLeakSR", "CompLeakAudit", "attacks.mr", "evaluation.tables",
                                    "benchmarks.training", "models.audit", "data.augment"])
def test_every_command_says_how_threads_wait_before_torch_is_there(root, module):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP", "GOMP", "KMP"))}
    done = subprocess.run([sys.executable, "-c", AT_TORCH.format(module=module)], cwd=root, env=environment,
                          capture_output=True, text=True)
    assert done.stdout == "PASSIVE None\n", done.stderr


@pytest.mark.parametrize("chosen", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "9"}, {"KMP_BLOCKTIME": "0"}])
def test_the_users_choice_stays(chosen):
    environment = dict(chosen)
    wait_passively(environment)
    assert environment == chosen


def test_fewer_threads_are_proposed_where_others_hold_the_cores():
    assert fewer_threads_hint(2, load=0, cores=2) is None
    assert fewer_threads_hint(1, load=9, cores=2) is None
    assert "OMP_NUM_THREADS=1" in fewer_threads_hint(2, load=2, cores=2)
    said = fewer_threads_hint(16, load=5, cores=16)
    assert "OMP_NUM_THREADS=11" in said and "5 other busy threads share 16 core(s)" in said and "\n" not in said


def test_busy_counts_the_threads_of_others_that_want_a_core():
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        end = time.monotonic() + 20
        while busy() < 3 and time.monotonic() < end:
            time.sleep(0.1)
        assert busy() >= 3
    finally:
        for one in spinning:
            one.kill()
            one.wait()
