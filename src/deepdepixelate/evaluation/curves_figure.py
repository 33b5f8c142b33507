"""The curves of a training as an interactive figure."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

MOST_POINTS = 1000
"""Points of a line. More are averaged: they would only make the page slow."""

_PSNR = "val.psnr_y"
_COLORS = {  # they read on a light and on a dark page
    _PSNR: "#2f8fe0",
    "loss": "#e0812f",
    "content_loss": "#e0812f",
    "adversarial_loss": "#b267d8",
    "discriminator_loss": "#2fa57c",
}
_GREY = "#858d98"


def draw(history: pd.DataFrame, title: str) -> go.Figure:
    """Draw PSNR on the validation images, and the losses below it, over the updates.

    The losses are SRGAN's three where the history holds them, or else the one that is there.

    Args:
        history: one row per logged point, as a training returns it: ``update``, losses, and
            ``val.psnr_y`` (dB) if it validated.
        title: what was trained.

    Returns:
        A figure of two panels; a line is left out where the history lacks its column.
    """
    losses = [name for name in _COLORS if name.endswith("_loss") and name in history]
    figure = go.Figure(layout=_layout(title))
    _add(figure, history, _PSNR, {"name": "validation PSNR", "mode": "lines+markers"})
    for name in losses or ["loss"]:
        _add(figure, history, name, {"name": name.replace("_", " "), "yaxis": "y2"})
    return figure


def _add(figure: go.Figure, history: pd.DataFrame, column: str, style: Mapping[str, str]) -> None:
    if column not in history:
        return
    points = history[["update", column]].dropna()
    if len(points) > MOST_POINTS:
        points = points.groupby(pd.RangeIndex(len(points)) * MOST_POINTS // len(points)).mean()
    figure.add_scatter(
        x=points["update"].tolist(),
        y=points[column].tolist(),
        line={"color": _COLORS[column], "width": 1.5},
        **style,
    )


def _layout(title: str) -> dict[str, object]:
    return {
        "title": {"text": title},
        "template": "none",
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"title": {"text": "updates"}, "anchor": "y2"},
        "yaxis": {"title": {"text": "PSNR / dB"}, "domain": [0.54, 1]},
        # Kedro-Viz gives its own look to the axes above, and leaves this one as it is.
        "yaxis2": {
            "title": {"text": "loss", "font": {"size": 10}},
            "domain": [0, 0.46],
            "type": "log",
            "nticks": 4,
            "tickformat": "~g",
            "tickfont": {"size": 9},
            "color": _GREY,
            "gridcolor": "rgba(133, 141, 152, 0.3)",
        },
    }
