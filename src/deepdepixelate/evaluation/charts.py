"""Charts as inline SVG for an HTML page: no file, no script, no global state, ever the same."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from deepdepixelate.evaluation.inline_svg import COLORS, STAND_INS, as_inline

MOST_POINTS = 400
"""Points of a line: as many as its chart has pixels. More are averaged."""

_INCHES = (5.0, 3.2)  # at 72 units an inch, about as many as CSS pixels on a page
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "deepdepixelate",
    "text.parse_math": False,  # a name may hold dollar signs
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "legend.handlelength": 1.7,
    "legend.columnspacing": 1.3,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
_DASHES = {"hr": "-", "bicubic": (0, (1, 1.6)), "srresnet": "-", "srgan": (0, (5, 1.8))}
_TICKS = (1, 2, 5, 10)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: for the legend.
        color: a name in ``COLORS``.
        x: where, ascending.
        y: what; values that are not finite are left out.
        dots: mark each point, for few of them.
    """

    label: str
    color: str
    x: ArrayLike
    y: ArrayLike
    dots: bool = False


def color_of(model: str, others: Sequence[str] = ()) -> str:
    """The colour of a model: its own, or one by its place among ``others``."""
    if model in COLORS:
        return model
    return f"other-{(others.index(model) if model in others else 0) % 3 + 1}"


def line_chart(
    key: str,
    lines: Sequence[Line],
    *,
    description: str,
    x_label: str,
    y_label: str,
    log: bool = False,
    vertical: tuple[float, str] | None = None,
    horizontal: float | None = None,
) -> str | None:
    """Lines over a common axis.

    Args:
        key: tells this chart's elements from those of the page's other charts.
        lines: what to draw.
        description: what the chart shows, for those who cannot see it.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        log: a logarithmic vertical axis; what is not positive is left out.
        vertical: where a marked vertical line stands, and what is written at it.
        horizontal: where a marked horizontal line lies.

    Returns:
        An ``<svg>`` element, or None where there is nothing to draw.
    """
    drawn = [(line, *_drawable(line, log)) for line in lines]
    drawn = [(line, x, y) for line, x, y in drawn if len(x)]
    if not drawn:
        return None
    with _axes() as (figure, axes):
        for line, x, y in drawn:
            axes.plot(
                x,
                y,
                color=STAND_INS[line.color],
                linestyle=_DASHES.get(line.color, "-") if len(drawn) > 1 else "-",
                marker="o" if line.dots or len(x) == 1 else None,
                markersize=3.5,
                label=line.label,
            )
        if log:
            _make_logarithmic(axes, [y for _, _, y in drawn])
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=_TICKS))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        if vertical is not None:
            axes.axvline(vertical[0], color=STAND_INS["ink"], linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                vertical[1],
                (vertical[0], 1.02),
                xycoords=("data", "axes fraction"),
                ha="center",
                annotation_clip=False,
                color=STAND_INS["ink"],
                fontsize=10,
            )
        if horizontal is not None:
            axes.axhline(horizontal, color=STAND_INS["ink"], linewidth=1, linestyle=(0, (4, 3)))
        return _finish(figure, axes, key, description, x_label, y_label, legend=len(drawn) > 1)


def histogram(
    key: str,
    values: Mapping[str, tuple[str, ArrayLike]],
    *,
    description: str,
    x_label: str,
    zero: bool = False,
) -> str | None:
    """How many images have which value.

    Args:
        key: tells this chart's elements from those of the page's other charts.
        values: by label the name of a colour and the values; those not finite are left out.
        description: what the chart shows, for those who cannot see it.
        x_label: name and unit of the values.
        zero: mark zero, and have it in the picture.

    Returns:
        An ``<svg>`` element, or None where there is nothing to draw.
    """
    finite = {label: (color, _finite(each)) for label, (color, each) in values.items()}
    finite = {label: (color, each) for label, (color, each) in finite.items() if len(each)}
    if not finite:
        return None
    edges = _edges([each for _, each in finite.values()], zero)
    with _axes() as (figure, axes):
        for label, (color, each) in finite.items():
            counts, _ = np.histogram(each, edges)
            stand_in = STAND_INS[color]
            axes.stairs(counts, edges, fill=True, color=stand_in, alpha=0.16, linewidth=0)
            axes.stairs(
                counts,
                edges,
                color=stand_in,
                linewidth=1.8,
                linestyle=_DASHES.get(color, "-"),
                label=label,
            )
        if zero:
            axes.axvline(0, color=STAND_INS["ink"], linewidth=1, linestyle=(0, (4, 3)))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_TICKS, integer=True))
        return _finish(figure, axes, key, description, x_label, "images", legend=True)


def number(value: float, *, power: bool = False) -> str:
    """A number at an axis, with a power of ten where it is tiny or huge, or where one is wanted."""
    if value == 0 or (not power and 1e-3 <= abs(value) < 1e6):
        return f"{value:,.10g}".replace("-", "\N{MINUS SIGN}")
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    mantissa = f"{value / 10**exponent:.3g}".replace("-", "\N{MINUS SIGN}")
    written = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return written if mantissa == "1" else f"{mantissa}·{written}"


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _drawable(line: Line, log: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points that can be drawn; of too many, the means of neighbours."""
    x, y = np.asarray(line.x, dtype=np.float64), np.asarray(line.y, dtype=np.float64)
    usable = np.isfinite(x) & np.isfinite(y)
    if log:
        usable &= y > 0
    x, y = x[usable], y[usable]
    if len(x) <= MOST_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), MOST_POINTS)
    return (
        np.array([x[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
    )


def _edges(values: Sequence[NDArray[np.float64]], zero: bool) -> NDArray[np.float64]:
    together = np.concatenate([*values, [0.0]] if zero else values)
    low, high = float(together.min()), float(together.max())
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(math.ceil(2 * max(map(len, values)) ** (1 / 3)), 5, 40))
    return np.linspace(low, high, bins + 1)


def _make_logarithmic(axes: Axes, values: Sequence[NDArray[np.float64]]) -> None:
    together = np.concatenate(values)
    decades = math.log10(together.max() / together.min())
    axes.set_yscale("log")
    subdivisions = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0) if decades > 0.6 else range(1, 10)
    axes.yaxis.set_major_locator(LogLocator(subs=subdivisions, numticks=9))
    power = decades > 4
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, power=power)))
    axes.yaxis.set_minor_formatter(NullFormatter())


@contextmanager
def _axes() -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's own matplotlibrc must not change the charts
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(color=STAND_INS["grid"], linewidth=0.8)
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_TICKS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        yield figure, axes


def _finish(
    figure: Figure,
    axes: Axes,
    key: str,
    description: str,
    x_label: str,
    y_label: str,
    *,
    legend: bool,
) -> str:
    ink = STAND_INS["ink"]
    axes.set_xlabel(x_label, color=ink)
    axes.set_ylabel(y_label, color=ink)
    axes.tick_params(which="both", colors=ink, length=0)
    for spine in axes.spines.values():
        spine.set_color(STAND_INS["grid"])
    if legend:
        figure.legend(loc="outside upper left", ncols=4, frameon=False, labelcolor=ink)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    written = StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return as_inline(written.getvalue(), key, description)
