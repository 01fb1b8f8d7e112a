"""How threads wait for one another, and whether fewer of them would be faster."""
import os

# Each of these says already how to wait: the standard's word, libgomp's (in torch's wheels) and Intel's.
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_passively(environment=os.environ):
    """Let OpenMP's threads sleep while they wait, unless the user chose otherwise; before torch is imported.

    By default they spin. Where another process holds a core, a thread then spins through its whole share of time while
    the one that it waits for has none, and a step takes ten times as long or more.
    """
    if not any(name in environment for name in CHOICES):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


def fewer_threads_hint(threads, load=None, cores=None):
    """One line where other processes leave fewer cores than threads, else None.

    Args: threads int, of this process; load: how many processes want a core, by default the last minute's average, so
        ask before the work begins; cores int, by default those that this process may use.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if load is None else load
    left = max(1, cores - round(load))
    if threads <= left:
        return None
    return (f"{load:.1f} processes already share {cores} core(s): OMP_NUM_THREADS={left} would be faster than "
            f"{threads} threads")
