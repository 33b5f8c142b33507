"""Plotly figures of scores, spectra and trainings, for the report and for Kedro-Viz."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb

from deepdepixelate.evaluation.formatting import METRICS, model_title, set_title

MOST_POINTS = 500
"""Points per line. Longer histories are averaged down, to keep the page small."""

# All colours have a contrast of 3 or more to white and to the dark background of the report.
_COLORS = {"hr": "#20915f", "bicubic": "#7d8591", "srresnet": "#2378d4", "srgan": "#cf6316"}
_OTHER = "#a057cc"
_GREY, _BLUE, _ORANGE, _PURPLE = _COLORS["bicubic"], _COLORS["srresnet"], _COLORS["srgan"], _OTHER
_DASHES = {"bicubic": "dot", "srgan": "dash", "photo": "dashdot"}
_GRID = "rgba(125, 133, 145, 0.3)"

_FREQUENCY = "frequency / cycles per pixel"
_NYQUIST = "Nyquist frequency of LR"

_PANELS: Sequence[tuple[str, Mapping[str, tuple[str, str]]]] = (
    ("PSNR / dB", {"val.psnr_y": ("validation PSNR", _BLUE)}),
    ("ST-LPIPS", {"val.st_lpips": ("validation ST-LPIPS", _BLUE)}),
    ("loss", {"loss": ("loss", _BLUE), "content_loss": ("content loss", _ORANGE)}),
    (
        "cross-entropy",
        {
            "adversarial_loss": ("adversarial loss", _PURPLE),
            "discriminator_loss": ("discriminator loss", _GREY),
        },
    ),
    (
        "probability",
        {
            "discriminator_on_hr": ("discriminator on HR", _COLORS["hr"]),
            "discriminator_on_sr": ("discriminator on SR", "#c23b6b"),
        },
    ),
    ("learning rate", {"learning_rate": ("learning rate", _BLUE)}),
)
"""Panels of a training's curves: title, and by column of the history a label and a colour."""


@dataclass(frozen=True)
class Chart:
    """A figure with its heading, and its description for screen readers.

    Attributes:
        figure: None if there are no finite values to draw.
    """

    title: str
    description: str
    figure: go.Figure | None


def score_histograms(scores: pd.DataFrame, set_name: str) -> list[Chart]:
    """Histograms over the images of a set: PSNR, PSNR gain over bicubic, ST-LPIPS and identity.

    Args:
        scores: one row per image and model, see ``scoring.Scores``.
        set_name: which set.
    """
    of_set = scores[scores["set"] == set_name]
    models = list(dict.fromkeys(of_set["model"]))
    tables = {
        METRICS[metric].heading: of_set.pivot(index="image", columns="model", values=metric)
        for metric in ("psnr_y", "st_lpips", "identity_distance")
        if metric in of_set
    }
    tables = {title: table[models].astype(float) for title, table in tables.items()}
    charts = []
    for title, table in tables.items():
        charts.append(_histogram_chart(title, set_name, table))
        if title == METRICS["psnr_y"].heading and "bicubic" in models:
            gain = table.drop(columns="bicubic").sub(table["bicubic"], axis=0)
            charts.append(_histogram_chart("PSNR gain over bicubic / dB", set_name, gain))
    return charts


def spectrum_charts(spectra: pd.DataFrame, set_name: str, scale: int) -> list[Chart]:
    """Power spectra of a set, and as a share of the originals'.

    Args:
        spectra: ``set``, ``model`` (``hr`` for the originals), ``frequency`` in cycles per pixel,
            ``power``.
        set_name: which set.
        scale: of the models; the Nyquist frequency of LR is marked.
    """
    of_set = spectra[spectra["set"] == set_name]
    powers = of_set.pivot(index="frequency", columns="model", values="power").astype(float)
    powers = powers[list(dict.fromkeys(of_set["model"]))]
    shares = powers.drop(columns="hr").div(powers["hr"], axis=0) * 100
    charts = []
    for title, y_title, table, axis in (
        ("Power spectrum", "power", powers.where(powers > 0), {"type": "log"}),
        ("Share of the original's power", "% of the original's power", shares, {}),
    ):
        figure = _figure(_FREQUENCY, y_title)
        figure.update_layout(legend_y=1.08)
        figure.update_yaxes(exponentformat="power", **axis)
        for model, values in table.items():
            _add_line(figure, str(model), values.dropna())
        figure.add_vline(
            0.5 / scale,
            line={"color": _GREY, "dash": "dash", "width": 1},
            annotation={"text": _NYQUIST, "yref": "paper", "y": 1, "yanchor": "bottom"},
            annotation_position="top",
        )
        description = (
            f"{title} of luma by frequency, mean over the images of {set_title(set_name)}."
        )
        charts.append(Chart(title, description, figure if figure.data else None))
    return charts


def training_curves(history: pd.DataFrame) -> go.Figure:
    """Validation scores, losses and learning rate over the updates, in panels below each other.

    Args:
        history: one row per logged point: ``update`` and the columns of the panels. Columns that
            the history lacks are left out.

    Returns:
        The figure; without lines if the history is empty.
    """
    panels = [
        (y_title, {column: style for column, style in lines.items() if column in history})
        for y_title, lines in _PANELS
    ]
    panels = [(y_title, lines) for y_title, lines in panels if lines]
    figure = _figure("update")
    figure.update_xaxes(anchor=f"y{len(panels)}" if len(panels) > 1 else "y")
    height = 1 / max(1, len(panels))
    for index, (y_title, lines) in enumerate(panels):
        axis = "y" if index == 0 else f"y{index + 1}"
        top = 1 - index * height
        is_log = y_title == "loss" and (history[list(lines)].dropna() > 0).all(axis=None)
        figure.layout[axis.replace("y", "yaxis")] = _axis(y_title) | {
            "anchor": "x",
            "domain": [max(0.0, top - 0.8 * height), top],
            "nticks": 5,
            "exponentformat": "power",
            **({"type": "log", "tickformat": "~g"} if is_log else {}),
        }
        for column, (label, color) in lines.items():
            points = _thinned(history[["update", column]].dropna())
            figure.add_scatter(
                x=points["update"].tolist(),
                y=points[column].tolist(),
                yaxis=axis,
                name=label,
                showlegend=len(lines) > 1,
                mode="lines+markers" if column.startswith("val.") else "lines",
                line={"color": color, "width": 1.5},
                marker={"size": 4},
            )
    return figure


def training_facts(history: pd.DataFrame) -> list[str]:
    """Updates, speed and best validation PSNR of a training."""
    facts = [f"{int(history['update'].max()):,} updates".replace(",", "\N{NO-BREAK SPACE}")]
    if "crops_per_second" in history and history["crops_per_second"].notna().any():
        facts.append(f"{history['crops_per_second'].median():.0f} crops/s (median)")
    if "val.psnr_y" in history and history["val.psnr_y"].notna().any():
        best = history.iloc[int(history["val.psnr_y"].argmax())]
        facts.append(
            f"best validation PSNR {best['val.psnr_y']:.2f} dB at update {best['update']:.0f}"
        )
    return facts


def _histogram_chart(title: str, set_name: str, values: pd.DataFrame) -> Chart:
    description = (
        f"Histogram over the images of {set_title(set_name)}, one line per model: {title}."
    )
    return Chart(title.removesuffix(" / dB"), description, _histogram(title, values))


def _histogram(x_title: str, values: pd.DataFrame) -> go.Figure | None:
    """Counts per model over common bins; the values themselves would make the page large."""
    columns = {str(model): each[np.isfinite(each)].to_numpy() for model, each in values.items()}
    columns = {model: each for model, each in columns.items() if len(each)}
    if not columns:
        return None
    together = np.concatenate(list(columns.values()))
    low, high = float(together.min()), float(together.max())
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(math.ceil(2 * max(map(len, columns.values())) ** (1 / 3)), 5, 40))
    edges = np.linspace(low, high, bins + 1)
    figure = _figure(x_title, "images")
    figure.update_xaxes(zeroline=True, zerolinecolor=_GREY, zerolinewidth=2)  # gain or loss
    for model, each in columns.items():
        counts, _ = np.histogram(each, edges)
        steps = pd.Series([*counts.tolist(), 0], index=edges)
        fill = f"rgba{(*hex_to_rgb(_COLORS.get(model, _OTHER)), 0.16)}"
        _add_line(figure, model, steps, line_shape="hv", fill="tozeroy", fillcolor=fill)
    return figure


def _add_line(figure: go.Figure, model: str, values: pd.Series, **style: Any) -> None:
    if values.empty:
        return
    figure.add_scatter(
        x=values.index.tolist(),
        y=values.tolist(),
        name=escape(model_title(model), quote=False),  # Plotly interprets tags
        mode="lines",
        line={"color": _COLORS.get(model, _OTHER), "dash": _DASHES.get(model, "solid"), "width": 2},
        **style,
    )


def _thinned(points: pd.DataFrame) -> pd.DataFrame:
    """At most ``MOST_POINTS`` rows: means of neighbours."""
    if len(points) <= MOST_POINTS:
        return points
    return points.groupby(pd.RangeIndex(len(points)) * MOST_POINTS // len(points)).mean()


def _figure(x_title: str, y_title: str = "") -> go.Figure:
    return go.Figure(
        layout={
            "template": "none",
            "font": {"family": "system-ui, sans-serif", "color": _GREY},
            "paper_bgcolor": "rgba(0, 0, 0, 0)",
            "plot_bgcolor": "rgba(0, 0, 0, 0)",
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "margin": {"l": 60, "r": 15, "t": 20, "b": 45},
            "xaxis": _axis(x_title),
            "yaxis": _axis(y_title),
        }
    )


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 12}},
        "tickfont": {"size": 11},
        "color": _GREY,
        "gridcolor": _GRID,
        "zeroline": False,
        "automargin": True,
    }
