"""What every benchmark shares: its row of the table, flags, interleaved timing, and the JSON that it leaves."""
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from common.command import Parser
from common.device import choose_device
from common.errors import UsageError
from common.files import write_json
from models.record import device_name

FORMAT = 1
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One row of the table: name of its JSON, what is measured, the goal, and the command that measures it."""

    name: str
    what: str
    goal: str
    command: str


def parser(description, device="cpu"):
    """A parser with the flags that every benchmark takes; device None: the row is about a CPU whatever there is."""
    p = Parser(description=description)
    if device:
        p.add_argument("--device", default=device, help="cpu, cuda or cuda:N (default: cpu)")
    p.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON (default: benchmarks/results)")
    return p


def parse(p, argv, about=("device", "results")):
    """The arguments, with `load`, the machine's load average before the measuring, and `trial`.

    A trial is a run whose flags, but for those named in `about`, are not the defaults: it measures something else than
    its row says, so the table leaves it out.
    """
    args = p.parse_args(argv)
    args.load = os.getloadavg()[0]
    args.trial = any(value != p.get_default(name) for name, value in vars(args).items() if name not in (*about, "load"))
    return args


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


def save(row, args, device, measured, met, figures, settings):
    """Write the row's JSON and print it in two lines.

    measured: one line of text for the table; met: whether the goal is reached, bool; figures, settings: {name: plain
    JSON value}. What a CPU's row gives on a GPU goes into a file of its own.
    """
    record = {"format": FORMAT, **asdict(row), "measured": measured, "met": bool(met), "trial": args.trial,
              "figures": figures, "settings": settings, "machine": machine(device), "threads": torch.get_num_threads(),
              "load_before": round(args.load, 2), "date": datetime.now(UTC).strftime("%Y-%m-%d"),
              "python": platform.python_version(),
              "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")}}
    elsewhere = device.type == "cuda" and "cuda" not in row.command
    write_json(args.results / f"{row.name}{'_cuda' if elsewhere else ''}.json", record)
    verdict = "a trial, no verdict" if args.trial else "met" if met else "missed"
    print(f"{row.what}: {measured}\n  goal {row.goal}: {verdict} ({record['machine']}, load before "
          f"{args.load:.1f})", flush=True)
    return record


def rounded(values, digits=4):
    """{name: value} with floats to this many significant digits."""
    return {name: float(f"{value:.{digits}g}") if isinstance(value, float) else value for name, value in values.items()}
