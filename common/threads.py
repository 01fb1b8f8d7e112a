"""How threads wait for one another, and whether fewer of them would be faster."""
import os
import time

# Each of these says already how to wait: the standard's word, libgomp's (in torch's wheels) and Intel's.
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_passively(environment=os.environ):
    """Let OpenMP's threads sleep while they wait, unless the user chose otherwise; before torch is imported.

    By default they spin. Where another process holds a core, a thread then spins through its whole share of time while
    the one that it waits for has none, and a step takes ten times as long or more.
    """
    if not any(name in environment for name in CHOICES):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


def busy():
    """How many threads of other processes want a core now: the least of a few looks; 0 where no /proc says it."""
    looks = []
    for _ in range(5):
        try:
            with open("/proc/loadavg", encoding="ascii") as file:
                looks.append(int(file.read().split()[3].split("/")[0]) - 1)  # without the one that looks
        except (OSError, ValueError, IndexError):
            return 0
        time.sleep(0.01)
    return max(0, min(looks))


def fewer_threads_hint(threads, load=None, cores=None):
    """One line where other processes leave fewer cores than threads, else None.

    Args: threads int, of this process; load: how many threads of others want a core, by default now, so ask while this
        process itself is at rest; cores int, by default those that this process may use.
    """
    if threads == 1:
        return None
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = busy() if load is None else load
    left = max(1, cores - load)
    if threads <= left:
        return None
    return (f"{load} other busy threads share {cores} core(s) with this process: "
            f"OMP_NUM_THREADS={left} would be faster than {threads}")
