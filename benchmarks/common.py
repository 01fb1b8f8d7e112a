"""What every benchmark shares: its row of the table, flags, interleaved timing, and the JSON that it leaves."""
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from models.checkpoint import write_json
from models.cli import Parser, choose_device
from models.errors import UsageError
from models.stage import device_name

FORMAT = 1
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One row of the table: name of its JSON, what is measured, the goal, and the command that measures it."""

    name: str
    what: str
    goal: str
    command: str


def parser(description):
    """A parser with the flags that every benchmark takes."""
    p = Parser(description=description)
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    p.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON (default: benchmarks/results)")
    return p


def cuda_only(device, row):
    """The device; UsageError for one that the row is not about."""
    device = choose_device(device)
    if device.type != "cuda":
        raise UsageError(f"--device {device}: this row is about a GPU, on a machine with one run {row.command}")
    return device


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


def machine(device):
    """The kind of machine, no name: "2-core x86_64 CPU", with the GPU before it where it is used."""
    cpu = f"{os.cpu_count()}-core {platform.machine()} CPU"
    return cpu if device.type == "cpu" else f"{device_name(device)}, {cpu}"


def save(row, folder, device, load, measured, met, figures, settings):
    """Write the row's JSON and print it in two lines.

    load: `os.getloadavg()[0]` before the measuring, which says whether the machine was idle; measured: one line of
    text for the table; met: whether the goal is reached, bool; figures, settings: {name: plain JSON value}.
    """
    record = {"format": FORMAT, **asdict(row), "measured": measured, "met": bool(met), "figures": figures,
              "settings": settings, "machine": machine(device), "threads": torch.get_num_threads(),
              "load_before": round(load, 2), "date": datetime.now(UTC).strftime("%Y-%m-%d"),
              "python": platform.python_version(),
              "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")}}
    write_json(folder / f"{row.name}.json", record)
    print(f"{row.what}: {measured}\n  goal {row.goal}: {'met' if met else 'missed'} ({record['machine']}, load before "
          f"{load:.1f})", flush=True)
    return record


def rounded(values, digits=4):
    """{name: value} with floats to this many significant digits."""
    return {name: float(f"{value:.{digits}g}") if isinstance(value, float) else value for name, value in values.items()}
