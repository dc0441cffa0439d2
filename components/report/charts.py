"""The charts of the page: SVG images that hold everything they need and follow the reader's light or dark mode."""

import base64
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Matplotlib knows one colour a line, the page has two modes. So it draws in these, and they become CSS variables.
INK, QUIET, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404"
THEME = (
    "<style>svg{--c1:#1f2328;--c2:#6b7280;--c3:#0b5cad;--c4:#a84300}"
    "@media (prefers-color-scheme:dark){svg{--c1:#e6e8eb;--c2:#9aa3ad;--c3:#6cb2ff;--c4:#ffa657}}</style>"
)
STYLE: Any = {  # matplotlib types its keys as one long list of literals
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same facts give the same bytes
    "text.parse_math": False,  # a class may be called "$x$"
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": QUIET,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "image.composite_image": False,
}
HEAT = (0.23, 0.51, 0.96)  # one colour, from clear to full: it reads on white and on black


def number(value: object) -> float:
    """Whatever a record holds as a number; NaN for what is none."""
    try:
        return float(value)  # type: ignore[arg-type]  # the except below is the check
    except (TypeError, ValueError):
        return math.nan


def _draw(width: float, height: float, paint: Callable[[Axes], None]) -> str:
    with matplotlib.rc_context(STYLE):
        figure, drawn = Figure(figsize=(width, height), layout="constrained"), io.StringIO()
        paint(figure.subplots())
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    svg = drawn.getvalue()
    head, rest = svg[svg.index("<svg") :].split(">", 1)
    rest = re.sub(r"(?<=: )#0([1-4])(?:0\1){2}", r"var(--c\1)", rest)
    return "data:image/svg+xml;base64," + base64.b64encode(f"{head}>{THEME}{rest}".encode()).decode()


def curve(history: Mapping[str, Sequence[object]], measure: str, best_epoch: object = None) -> str:
    """One measure over the epochs, as an image: training dashed, validation solid, the kept epoch marked."""

    def paint(axes: Axes) -> None:
        lines = [(measure, "training", SECOND, "--"), (f"val_{measure}", "validation", FIRST, "-")]
        for key, label, colour, style in lines:
            values = [number(value) for value in history.get(key) or []]
            epochs = range(1, len(values) + 1)
            if values:
                axes.plot(epochs, values, style, color=colour, label=label, marker="o", markersize=2.5)
        if math.isfinite(number(best_epoch)):
            axes.axvline(number(best_epoch), color=QUIET, linewidth=0.9, linestyle=":", label="kept epoch")
        axes.set(title=measure, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.legend(frameon=False, labelcolor=INK)

    return _draw(4.7, 2.9, paint)


def reliability(bins: Sequence[Mapping[str, object]]) -> str:
    """Said against true, as an image: a point on the line is a model that knows how sure it may be."""
    said, true, rows = ([number(one.get(key)) for one in bins] for key in ("confidence", "accuracy", "rows"))
    most = max([count for count in rows if math.isfinite(count)], default=1.0) or 1.0

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=":")
        axes.plot(said, true, color=FIRST, linewidth=1)
        sizes = [12 + 110 * np.nan_to_num(count) / most for count in rows]
        axes.scatter(said, true, sizes, color=FIRST, alpha=0.75, linewidth=0, clip_on=False)
        axes.set(xlabel="confidence", ylabel="share that was right", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.grid()

    return _draw(4.2, 4.0, paint)


def shares(matrix: Sequence[Sequence[object]]) -> np.ndarray:
    """Each row of a confusion matrix as shares of itself; a class without rows is all zero."""
    counts = np.nan_to_num(np.array([[number(cell) for cell in row] for row in matrix], dtype=float))
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)


def heat_map(matrix: Sequence[Sequence[object]], classes: Sequence[str]) -> str:
    """A confusion matrix of many classes, as an image: rows are the truth, a square root shows small shares."""
    depth = np.sqrt(shares(matrix))
    pixels = np.dstack([np.full(depth.shape, part) for part in HEAT] + [depth])

    def paint(axes: Axes) -> None:
        axes.imshow(pixels, interpolation="none")
        places, small = range(len(classes)), min(8.0, 470 / max(1, len(classes)))
        axes.set_xticks(places, classes, rotation=90, fontsize=small)
        axes.set_yticks(places, classes, fontsize=small)
        axes.tick_params(length=0, pad=2)
        axes.set(xlabel="predicted", ylabel="truth")

    return _draw(8.6, 8.6, paint)
