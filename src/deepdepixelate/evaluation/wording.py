"""How the report writes figures, and what it calls metrics, models and sets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from deepdepixelate.evaluation.comparison import TITLES

MISSING = "not available"
MINUS = "\N{MINUS SIGN}"

_SET_TITLES = {"test": "Test split", "set5": "Set5", "set14": "Set14", "bsd100": "BSD100"}


@dataclass(frozen=True)
class Metric:
    """How a metric is called and written."""

    title: str
    unit: str
    digits: int
    factor: float = 1.0

    def write(self, value: Any) -> str:
        """A value with its unit."""
        return _with_unit(self._number(value), self.unit)

    def difference(self, value: Any) -> str:
        """A difference with its sign and unit."""
        return _with_unit(self._number(value, signed=True), self.unit)

    def interval(self, bounds: Any, *, signed: bool = False) -> str:
        """``[low, high]``, or nothing where there is no interval."""
        if not isinstance(bounds, Sequence) or len(bounds) != 2:
            return ""
        low, high = (self._number(bound, signed=signed) for bound in bounds)
        return "" if MISSING in (low, high) else f"[{low}, {high}]"

    def _number(self, value: Any, *, signed: bool = False) -> str:
        if not is_number(value):
            return MISSING
        if math.isinf(value):
            return "∞" if value > 0 else f"{MINUS}∞"
        written = f"{value * self.factor:{'+' if signed else ''}.{self.digits}f}"
        return written.replace("-", MINUS)


METRICS = {
    "psnr_y": Metric("PSNR", "dB", 2),
    "ssim_y": Metric("SSIM", "", 4),
    "high_frequency_ratio": Metric("High-frequency energy", "%", 0, 100.0),
    "st_lpips": Metric("ST-LPIPS", "", 3),
    "identity_distance": Metric("Identity distance", "", 3),
    "identity_lost": Metric("Identity lost", "%", 1, 100.0),
}


def is_number(value: Any) -> TypeGuard[float]:
    """Whether this is a figure, finite or not, rather than nothing."""
    return isinstance(value, int | float) and not math.isnan(value)


def percent(share: Any) -> str:
    """A share of 1 as per cent."""
    return f"{100 * share:.0f} %" if is_number(share) else MISSING


def title_of(model: str) -> str:
    """A model's name as people write it."""
    return TITLES.get(model, model)


def set_title(name: str) -> str:
    """A set's name as people write it."""
    return _SET_TITLES.get(name.lower(), name)


def part(value: Any, *path: str) -> Mapping[str, Any]:
    """The object at a path inside objects; an empty one where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _with_unit(number: str, unit: str) -> str:
    return number if number == MISSING or not unit else f"{number}\N{NO-BREAK SPACE}{unit}"
