"""A training step with two threads beside two processes that hold the cores, against the same step alone."""
import json
import os
import subprocess
import sys
from contextlib import contextmanager

import torch
from torch.nn import functional as F

from benchmarks.common import Row, command, output_of, seconds
from benchmarks.training import new_model
from common.threads import CHOICES

GOAL, IDLE_GOAL, THREADS, BUSY = 4, 1.03, 2, 2
ROW = Row("loaded", "training step of ResNet-18, batch 128, two threads beside two busy processes",
          f"≤ {GOAL} × the step on an idle machine, and that one ≤ {IDLE_GOAL} × a step whose threads spin",
          "python -m benchmarks.loaded")
SPINNING = {"GOMP_SPINCOUNT": "300000"}  # libgomp's own choice where nobody chose


def steps(count, batch):
    """Seconds of each of so many steps in this process, after one that is not counted."""
    torch.set_num_threads(THREADS)
    model = new_model(torch.device("cpu")).train()
    images = torch.zeros(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64)

    def step():
        F.cross_entropy(model(images), labels).backward()

    step()
    return [seconds(step) for _ in range(count)]


def in_process(count, batch, environment):
    """Least and mean seconds of so many steps in a process of its own, since waiting is chosen when torch is loaded."""
    others = {name: value for name, value in os.environ.items() if name not in (*CHOICES, "OMP_NUM_THREADS")}
    code = f"import json; from benchmarks.loaded import steps; print(json.dumps(steps({count}, {batch})))"
    taken = json.loads(output_of("-c", code, env={**others, **environment}))
    return min(taken), sum(taken) / len(taken)


@contextmanager
def busy(processes):
    """So many processes that never wait."""
    workers = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def measure(device, count=10, spinning_count=2, batch_size=128):
    """count: steps timed each time; spinning_count: of threads that spin beside busy processes, a minute perhaps."""
    taken = {"idle_s": in_process(count, batch_size, {})[0],
             "idle_spinning_s": in_process(count, batch_size, SPINNING)[0]}
    with busy(BUSY):
        taken["loaded_s"] = in_process(count, batch_size, {})[1]
        taken["loaded_spinning_s"] = in_process(spinning_count, batch_size, SPINNING)[1]
    ratio, idle = taken["loaded_s"] / taken["idle_s"], taken["idle_s"] / taken["idle_spinning_s"]
    spinning = taken["loaded_spinning_s"] / taken["idle_spinning_s"]
    text = (f"{ratio:.1f} × ({taken['idle_s']:.2f} → {taken['loaded_s']:.2f} s), where threads that spin take "
            f"{spinning:.1f} ×; idle, {idle:.3f} of these")
    return (text, ratio <= GOAL and idle <= IDLE_GOAL,
            {"ratio": ratio, "idle_ratio": idle, "spinning_ratio": spinning, **taken},
            {"steps": count, "batch_size": batch_size, "threads": THREADS, "busy": BUSY})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
