"""A figure as SVG for a page: small, the same every time, every text as it was drawn."""
import io
import re

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg


def svg(figure):
    """A figure as SVG, bytes, the same every time; text stays text."""
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    # Every piece of text names the whole list of fonts, so the list is short.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "compleak", "path.simplify_threshold": 0.5,
                     "font.sans-serif": ["DejaVu Sans", "Verdana"]}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    _, *tag = file.getvalue().partition(b"<svg")  # in a page the heading of a file is of no use
    return re.sub(rb"<[^>]*>|(?<=>)\s+(?=<)", _shorter, b"".join(tag))


def _shorter(found):
    """A tag with coordinates to a tenth of a pixel, half the size; blanks between tags vanish, texts stay."""
    tag = re.sub(rb"\s+", b" ", found[0]).lstrip()
    return re.sub(rb' (d|x|y|transform)="(?![^"]*(?:scale|matrix))[^"]*"', lambda coordinates: re.sub(
        rb"-?\d+\.\d+", lambda number: b"%.1f" % float(number[0]), coordinates[0]), tag)
