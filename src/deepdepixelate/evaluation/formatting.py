"""How scores, models and sets are written, in the report and on the console."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOT_AVAILABLE = "not available"
MINUS = "\N{MINUS SIGN}"

_MODEL_TITLES = {
    "hr": "original",
    "bicubic": "bicubic",
    "srresnet": "SRResNet",
    "srgan": "SRGAN",
    "photo": "Photo",
}
_SET_TITLES = {"test": "Test split", "set5": "Set5", "set14": "Set14", "bsd100": "BSD100"}


@dataclass(frozen=True)
class Metric:
    """Title and number format of a metric.

    Values may be None or NaN, which both mean that there is none.
    """

    title: str
    digits: int
    unit: str = ""
    factor: float = 1.0
    short: str = ""

    @property
    def heading(self) -> str:
        """Title and unit, for an axis."""
        return f"{self.title} / {self.unit}" if self.unit else self.title

    @property
    def column(self) -> str:
        """Short title and unit, for the console."""
        return (
            f"{self.short or self.title} / {self.unit}" if self.unit else self.short or self.title
        )

    def number(self, value: float | None, *, signed: bool = False) -> str:
        """A value without its unit."""
        if value is None or math.isnan(value):
            return NOT_AVAILABLE
        if math.isinf(value):
            return "∞" if value > 0 else f"{MINUS}∞"
        written = f"{value * self.factor:{'+' if signed else ''}.{self.digits}f}"
        return written.replace("-", MINUS)

    def value(self, value: float | None, *, signed: bool = False) -> str:
        """A value with its unit; with its sign if it is a difference."""
        number = self.number(value, signed=signed)
        return (
            number if number == NOT_AVAILABLE else f"{number}\N{NO-BREAK SPACE}{self.unit}".strip()
        )

    def interval(self, bounds: Sequence[float] | None, *, signed: bool = False) -> str:
        """``[low, high]``; empty if there is no interval."""
        if bounds is None:
            return ""
        low, high = (self.number(bound, signed=signed) for bound in bounds)
        return f"[{low}, {high}]"

    def with_margin(self, value: float | None, bounds: Sequence[float] | None) -> str:
        """A mean without its unit, and half the width of its interval if there is one."""
        margin = "" if bounds is None else f" ± {self.number((bounds[1] - bounds[0]) / 2)}"
        return self.number(value) + margin


METRICS = {
    "psnr_y": Metric("PSNR", 2, "dB"),
    "ssim_y": Metric("SSIM", 4),
    "high_frequency_ratio": Metric("High-frequency energy", 0, "%", 100.0, short="detail"),
    "st_lpips": Metric("ST-LPIPS", 3),
    "identity_distance": Metric("Identity distance", 3, short="identity"),
    "identity_lost": Metric("Identity lost", 1, "%", 100.0),
}


def percent(share: float | None) -> str:
    """A share as per cent."""
    return NOT_AVAILABLE if share is None else f"{100 * share:.0f} %"


def model_title(model: str) -> str:
    """A model's name for readers."""
    return _MODEL_TITLES.get(model, model)


def pair_title(pair: str) -> str:
    """A difference such as ``srgan - bicubic`` for readers."""
    return f" {MINUS} ".join(map(model_title, pair.split(" - ")))


def set_title(name: str) -> str:
    """A set's name for readers."""
    return _SET_TITLES.get(name.lower(), name)


_COMPACT = ("st_lpips", "identity_distance", "psnr_y")


def compact_metrics(sets: Mapping[str, Any]) -> list[str]:
    """The metrics in the table of the degraded sets: those that at least one set has a mean of."""
    found = {metric for of_set in sets.values() for metric in measured(of_set["models"])}
    return [metric for metric in _COMPACT if metric in found]


def split_sets(evaluation: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sets of ``evaluation.json`` that have tables of their own, and the degraded sets.

    The degraded sets share a table with one row per set; see ``compact_metrics``.
    """
    degraded = evaluation["protocol"].get("degraded_sets", {})
    sets = evaluation["sets"]
    return (
        {name: of_set for name, of_set in sets.items() if name not in degraded},
        {name: of_set for name, of_set in sets.items() if name in degraded},
    )


def measured(models: dict[str, dict[str, Any]]) -> list[str]:
    """The metrics that at least one model has a mean of; PSNR and SSIM always."""
    return [
        metric
        for metric in METRICS
        if metric in ("psnr_y", "ssim_y")
        or any(values.get(metric) is not None for values in models.values())
    ]
