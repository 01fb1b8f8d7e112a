"""The table of all benchmarks, from the JSON that they left: goal, measured, command."""
from pathlib import Path

from benchmarks import (
    artifact,
    clustered_step,
    disk,
    growth,
    kmeans,
    learned,
    loaded,
    memory,
    nr_sr,
    rmia,
    samia,
    startup,
    training,
)
from benchmarks.common import FORMAT, RESULTS
from common.command import Parser, run
from common.files import atomic, read_json
from models.hints import mending

ROWS = (artifact.ROW, training.GPU, training.CPU, nr_sr.ONE, samia.ROW, nr_sr.ALL, learned.ROW, rmia.ROW, kmeans.ROW,
        clustered_step.ROW, disk.ROW, growth.ROW, loaded.ROW, startup.ROW, memory.ROW)


def table(folder):
    """The Markdown table of the JSON files in a folder; a row without one names the command that fills it."""
    lines = ["| what | goal | measured | on | command |", "| --- | --- | --- | --- | --- |"]
    for row in ROWS:
        path, measured, where = folder / f"{row.name}.json", "not measured", ""
        if path.exists():
            with mending(row.command):
                record = read_json(path)
            if record.get("format") == FORMAT:
                measured = f"{record['measured']}: **{'met' if record['met'] else 'missed'}**"
                where = f"{record['machine']}, load {record['load_before']}, {record['date']}"
        lines.append(f"| {row.what} | {row.goal} | {measured} | {where} | `{row.command}` |")
    return "\n".join(lines) + "\n"


def main(argv=None):
    p = Parser(description=__doc__)
    p.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON (default: benchmarks/results)")
    folder = p.parse_args(argv).results
    text = table(folder)
    with atomic(folder / "table.md") as beside:
        beside.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    run(main)
