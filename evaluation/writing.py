"""A table as Markdown, CSV, LaTeX, and as aligned text on the screen."""
import textwrap
from dataclasses import dataclass

import pandas as pd

from common.files import atomic

WIDTH = 120
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
         ">": r"\textgreater{}", "|": r"\textbar{}", **{sign: "\\" + sign for sign in "&%$#_{}"}}


def bounds(interval, digits=2):
    """'[83.55, 84.65]' of the ends of an interval, fractions, in per cent."""
    low, high = interval
    return f"[{100 * low:z.{digits}f}, {100 * high:z.{digits}f}]"


def with_interval(value, interval, digits=2, sign="", unit=""):
    """'84.10 [83.55, 84.65]' of a fraction, in per cent or points; sign: "+" of a difference; -0.00 is 0.00."""
    return f"{100 * value:{sign}z.{digits}f}{unit} {bounds(interval, digits)}"


def flat(row):
    """A row for a CSV: auc_interval becomes auc_low and auc_high, interval low and high; lists are joined by blanks."""
    found = {}
    for name, value in row.items():
        if name.endswith("interval"):
            stem = name.removesuffix("interval")
            found[f"{stem}low"], found[f"{stem}high"] = value or (None, None)
        else:
            found[name] = " ".join(map(str, value)) if isinstance(value, list) else value
    return found


@dataclass(frozen=True)
class Table:
    """A finished table: frame is what the CSV holds (fractions), blocks are {heading: frame of text} for reading.

    rules: how it was judged, for those who ask, after the blocks.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    blocks: dict
    rules: str = ""


def markdown(table):
    """The table as a Markdown page."""
    lines = [f"# {table.name}", "", table.caption]
    for heading, text in table.blocks.items():
        lines += ["", f"## {heading}", "", _pipes(text.columns), "|" + " --- |" * text.shape[1]]
        lines += map(_pipes, text.to_numpy())
    lines += ["", table.rules] if table.rules else []
    return "\n".join(lines) + "\n"


def _pipes(cells):
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def latex(table):
    """The table as LaTeX floats, one a block, for a document with booktabs and adjustbox."""
    lines = [r"% \usepackage{booktabs,adjustbox}"]
    for heading, text in table.blocks.items():
        tabular = text.map(escape).rename(columns=escape).to_latex(index=False, escape=False)
        lines += [r"\begin{table}[htbp]", r"\centering", rf"\caption{{{escape(f'{heading}. {table.caption}')}}}",
                  r"\begin{adjustbox}{max width=\textwidth}", tabular + r"\end{adjustbox}", r"\end{table}"]
    lines += [escape(table.rules)] if table.rules else []
    # LaTeX holds only so many floats that have no place yet.
    return "\n".join([*lines, r"\clearpage", ""])


def escape(text):
    """Plain text with LaTeX's special characters escaped."""
    return "".join(LATEX.get(sign, sign) for sign in text)


def write(table, folder):
    """Write <name>.md, .csv and .tex; the CSV holds fractions at full precision."""
    for ending, text in (("md", markdown(table)), ("csv", table.frame.to_csv(index=False)), ("tex", latex(table))):
        with atomic(folder / f"{table.name}.{ending}") as beside:
            beside.write_text(text, encoding="utf-8")


def screen(table, headings):
    """Some blocks of a table as aligned text, at most WIDTH columns wide with the usual names."""
    lines = textwrap.wrap(f"{table.name}  {table.caption}", WIDTH)
    for heading in headings:
        text = table.blocks[heading]
        grid = [list(text.columns), *text.to_numpy().tolist()]
        if sum(max(map(len, column)) + 2 for column in zip(*grid, strict=True)) - 2 > WIDTH:
            # Names of two words stand on two lines.
            above, below = zip(*(name.rpartition(" ")[::2] for name in text.columns), strict=True)
            grid[:1] = list(above), list(below)
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines += ["", heading] + ["  ".join(map(str.ljust, row, widths)).rstrip() for row in grid]
    if table.rules:
        lines += ["", *textwrap.wrap(table.rules, WIDTH)]
    return "\n".join(lines) + "\n"
