"""The report's tables: which figure stands where, and what is said of one that is not there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import pandas as pd

from deepdepixelate.evaluation.comparison import TITLES

MISSING = "not available"
WORST_SHOWN = 5
SKIPPED_SHOWN = 50

_SET_TITLES = {"test": "Test split", "set5": "Set5", "set14": "Set14", "bsd100": "BSD100"}
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Cell:
    """A figure, and in small what belongs to it: its interval, its difference."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        caption: what it shows.
        head: the columns' names.
        rows: as many cells each.
        notes: what has to be said of its figures.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())


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
            return "∞" if value > 0 else f"{_MINUS}∞"
        written = f"{value * self.factor:{'+' if signed else ''}.{self.digits}f}"
        return written.replace("-", _MINUS)


METRICS = {
    "psnr_y": Metric("PSNR", "dB", 2),
    "ssim_y": Metric("SSIM", "", 4),
    "high_frequency_ratio": Metric("High-frequency energy", "%", 0, 100.0),
    "lpips": Metric("LPIPS", "", 4),
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


def metrics_of(models: Mapping[str, Any]) -> list[str]:
    """The metrics that any model has a figure of; PSNR and SSIM always."""
    return [
        metric
        for metric in METRICS
        if metric in ("psnr_y", "ssim_y")
        or any(is_number(part(models, model).get(metric)) for model in models)
    ]


def gain_over_bicubic(entry: Mapping[str, Any], model: str, metric: str) -> tuple[Any, Any]:
    """The mean difference to bicubic on the same images and its interval; None for what is not."""
    paired = part(entry, "paired", f"{model} - bicubic", metric)
    if is_number(paired.get("mean")):
        return paired["mean"], paired.get("ci95")
    own, baseline = (part(entry, "models", each).get(metric) for each in (model, "bicubic"))
    if not (is_number(own) and is_number(baseline)):
        return None, None
    return own - baseline, None


def headline(name: str, entry: Mapping[str, Any], lpips: Mapping[str, Any]) -> Table:
    """A row a model: each metric's mean, its interval, and beside them the paper's figures."""
    models, paper = part(entry, "models"), part(entry, "paper")
    metrics = metrics_of(models)
    head = ["Model"]
    for metric in metrics:
        head.append(METRICS[metric].title)
        if metric in ("psnr_y", "ssim_y"):
            head.append(f"{METRICS[metric].title} over bicubic")
        if metric in ("psnr_y", "ssim_y") and paper:
            head.append(f"{METRICS[metric].title} in the paper")
    rows = []
    for model in models:
        row = [Cell(title_of(model))]
        for metric in metrics:
            row += _figures(entry, model, metric)
            if metric in ("psnr_y", "ssim_y") and paper:
                row.append(Cell(METRICS[metric].write(part(paper, model).get(metric))))
        rows.append(row)
    images = entry.get("images")
    caption = f"{set_title(name)}, {images if images is not None else 'unknown number of'} "
    caption += "image" if images == 1 else "images"
    return Table(caption, head, rows, _notes(models, metrics, bool(paper), lpips))


def _figures(entry: Mapping[str, Any], model: str, metric: str) -> list[Cell]:
    writer, values = METRICS[metric], part(entry, "models", model)
    interval = writer.interval(part(values, "ci95").get(metric))
    cells = [Cell(writer.write(values.get(metric)), interval)]
    if metric in ("psnr_y", "ssim_y"):
        if model == "bicubic":
            cells.append(Cell("baseline"))
        else:
            gain, bounds = gain_over_bicubic(entry, model, metric)
            cells.append(Cell(writer.difference(gain), writer.interval(bounds, signed=True)))
    return cells


def _notes(
    models: Mapping[str, Any], metrics: Sequence[str], paper: bool, lpips: Mapping[str, Any]
) -> list[str]:
    notes = []
    if any(part(models, model, "ci95").get(metric) for model in models for metric in metrics):
        notes.append("In brackets: the 95 % confidence interval of the mean over images.")
    else:
        notes.append(
            "No confidence intervals: not available, for they need the spread of two images "
            "or more."
        )
    notes += [
        f"{title_of(model)}: {identical} identical to the original, whose infinite PSNR is left "
        "out of the average."
        for model in models
        if (identical := part(models, model).get("identical"))
    ]
    if "high_frequency_ratio" not in metrics:
        notes.append(
            "High-frequency energy: not available, for no original has any above the Nyquist "
            "frequency of its LR image, or it was not measured."
        )
    if "lpips" in metrics:
        notes.append("LPIPS: a distance between deep features; lower is closer.")
    else:
        reason = lpips.get("reason") or "it was not measured"
        notes.append(f"LPIPS: not available ({str(reason).rstrip('.')}).")
    if paper:
        notes.append(
            "In the paper: Ledig et al., arXiv 1609.04802, table 2; networks trained on other "
            "data, and an implementation of SSIM that differs from ours, so SSIM does not compare."
        )
    return notes


def paired(name: str, entry: Mapping[str, Any]) -> Table | None:
    """The differences between models on the same images, where they were measured."""
    pairs = part(entry, "paired")
    metrics = [metric for metric in METRICS if any(metric in part(pairs, pair) for pair in pairs)]
    if not metrics:
        return None
    head = ["Difference"]
    for metric in metrics:
        head += [METRICS[metric].title, f"Images of higher {METRICS[metric].title}"]
    rows = []
    for pair in pairs:
        row = [Cell(f" {_MINUS} ".join(title_of(model) for model in pair.split(" - ")))]
        for metric in metrics:
            values, writer = part(pairs, pair, metric), METRICS[metric]
            interval = writer.interval(values.get("ci95"), signed=True)
            row.append(Cell(writer.difference(values.get("mean")), interval))
            row.append(Cell(percent(values.get("wins"))))
        rows.append(row)
    notes = [
        "An interval without zero: a difference that other images like these would likely show."
    ]
    if "lpips" in metrics:
        notes.append("A lower LPIPS is the better one.")
    return Table(f"{set_title(name)}: one model against another", head, rows, notes)


def below_bicubic(scores: pd.DataFrame) -> Table | None:
    """How many images each model makes worse than bicubic, and the worst of them."""
    rows = []
    for name, of_set in scores.groupby("set", sort=False):
        psnr = of_set.pivot_table(index="image", columns="model", values="psnr_y", sort=False)
        for model in [model for model in dict.fromkeys(of_set["model"]) if model != "bicubic"]:
            if "bicubic" not in psnr or model not in psnr:
                continue
            gains = (psnr[model] - psnr["bicubic"]).dropna()
            lost = gains[gains < 0].sort_values(kind="stable")
            worst = [
                f"{image} ({METRICS['psnr_y'].difference(float(gain))})"
                for image, gain in lost.head(WORST_SHOWN).items()
            ]
            share = percent(len(lost) / len(gains)) if len(gains) else MISSING
            rows.append(
                [
                    Cell(f"{set_title(str(name))}, {title_of(str(model))}"),
                    Cell(f"{len(lost)} of {len(gains)}", share),
                    Cell(", ".join(worst) or "none"),
                ]
            )
    if not rows:
        return None
    return Table(
        "Images whose PSNR is below that of bicubic",
        ["Set and model", "Images", f"The worst, at most {WORST_SHOWN}"],
        rows,
    )


def skipped(sets: Mapping[str, Any]) -> Table | None:
    """The images that were not scored, and why."""
    left_out = [
        (name, each) for name in sets for each in part(sets, name).get("skipped") or () if each
    ]
    if not left_out:
        return None
    rows = [
        [
            Cell(set_title(name)),
            Cell(str(part(each).get("image") or "unnamed")),
            Cell(str(part(each).get("reason") or "no reason on record")),
        ]
        for name, each in left_out[:SKIPPED_SHOWN]
    ]
    more = len(left_out) - len(rows)
    notes = [f"And {more} more, which evaluation.json lists."] if more else []
    return Table("Images that were not scored", ["Set", "Image", "Reason"], rows, notes)


def _with_unit(number: str, unit: str) -> str:
    return number if number == MISSING or not unit else f"{number}\N{NO-BREAK SPACE}{unit}"
