"""What every benchmark shares: its row of the table, its command, interleaved timing, and the JSON that it leaves."""
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from common.command import Parser, run
from common.device import choose_device
from common.errors import CompLeakError, UsageError
from common.files import write_json
from models.record import device_name

FORMAT = 1
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One row of the table: name of its JSON, what is measured, the goal, and the command that measures it, on what."""

    name: str
    what: str
    goal: str
    command: str
    device: str = "cpu"


def command(description, measure, *rows):
    """Be the command of a benchmark: `benchmark` with the command line's words."""
    run(lambda argv: benchmark(description, measure, rows, argv))


def benchmark(description, measure, rows, argv=None):
    """Measure, write the row's JSON, print it in two lines; returns what was written.

    measure(device) → one line of text for the table, whether the goal is met, figures and settings, both {name: plain
    JSON value}. Its other parameters have the row's sizes as their defaults. rows: one a kind of device, UsageError
    for any other.
    """
    p = Parser(description=description)
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    p.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON (default: benchmarks/results)")
    args = p.parse_args(argv)
    device, load = choose_device(args.device), os.getloadavg()[0]
    row = next((row for row in rows if row.device == device.type), None)
    if row is None:
        raise UsageError(f"--device {device}: this is about another device, on a machine with it run {rows[0].command}")
    measured, met, figures, settings = measure(device)
    record = {"format": FORMAT, **asdict(row), "measured": measured, "met": bool(met), "figures": rounded(figures),
              "settings": settings, "machine": machine(device), "threads": torch.get_num_threads(),
              "load_before": round(load, 2), "date": datetime.now(UTC).strftime("%Y-%m-%d"),
              "python": platform.python_version(),
              "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")}}
    write_json(args.results / f"{row.name}.json", record)
    print(f"{row.what}: {measured}\n  goal {row.goal}: {'met' if met else 'missed'} ({record['machine']}, load before "
          f"{load:.1f})", flush=True)
    return record


def rounded(value):
    """A plain JSON value with its floats to four significant digits."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def fastest(functions, repeats):
    """{name: least seconds of one call}: the functions take turns, so that a busy machine slows all of them alike.

    Each is called once before the clock starts.
    """
    for function in functions.values():
        function()
    taken = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            taken[name].append(seconds(function))
    return {name: min(some) for name, some in taken.items()}


def seconds(function):
    """Wall seconds of one call, the GPU's work included."""
    began = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def output_of(*words, **how):
    """What a Python process of these words prints; CompLeakError with the last line of its errors where it fails."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, **how)
    if done.returncode:
        raise CompLeakError(f"{' '.join(words)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def machine(device):
    """The kind of machine, no name: "2-core x86_64 CPU", with the GPU before it where it is used."""
    cpu = f"{os.cpu_count()}-core {platform.machine()} CPU"
    return cpu if device.type == "cpu" else f"{device_name(device)}, {cpu}"
