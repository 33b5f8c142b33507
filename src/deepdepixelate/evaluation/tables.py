"""The report's tables: which figure stands where, and what is said of one that is not there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from deepdepixelate.evaluation.wording import (
    METRICS,
    MINUS,
    MISSING,
    is_number,
    part,
    percent,
    set_title,
    title_of,
)

WORST_SHOWN = 5
SKIPPED_SHOWN = 50


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


def headline(name: str, entry: Mapping[str, Any], identity: Mapping[str, Any]) -> Table:
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
    return Table(caption, head, rows, _notes(entry, metrics, identity))


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
    entry: Mapping[str, Any], metrics: Sequence[str], identity: Mapping[str, Any]
) -> list[str]:
    models, notes = part(entry, "models"), []
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
    notes += [_note_on_st_lpips(entry, metrics), _note_on_identity(entry, metrics, identity)]
    if part(entry, "paper"):
        notes.append(
            "In the paper: Ledig et al., arXiv 1609.04802, table 2; networks trained on other "
            "data, and an implementation of SSIM that differs from ours, so SSIM does not compare."
        )
    return notes


def _note_on_st_lpips(entry: Mapping[str, Any], metrics: Sequence[str]) -> str:
    if "st_lpips" not in metrics:
        return (
            "ST-LPIPS: not available, for the images are too small for its network, or it was not "
            "measured."
        )
    note = "ST-LPIPS: how different two images look, by the features of a network; lower is closer."
    if too_small := part(entry, "not_available").get("st_lpips"):
        note += f" Not available for {too_small} of the images: too small for the network."
    return note


def _note_on_identity(
    entry: Mapping[str, Any], metrics: Sequence[str], identity: Mapping[str, Any]
) -> str:
    if "identity_distance" in metrics:
        return (
            "Identity: how far an enlarged face is from the original in the eyes of a face "
            "recognition network; lower is closer. Lost is the share of faces that it would take "
            f"for another person's. {entry.get('faces_found')} faces were found."
        )
    reason = identity.get("reason") or "it was not measured"
    if entry.get("faces_found") == 0:
        reason = "no face was found"
    return f"Identity: not available ({str(reason).rstrip('.')})."


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
        row = [Cell(f" {MINUS} ".join(title_of(model) for model in pair.split(" - ")))]
        for metric in metrics:
            values, writer = part(pairs, pair, metric), METRICS[metric]
            interval = writer.interval(values.get("ci95"), signed=True)
            row.append(Cell(writer.difference(values.get("mean")), interval))
            row.append(Cell(percent(values.get("wins"))))
        rows.append(row)
    notes = [
        "An interval without zero: a difference that other images like these would likely show."
    ]
    lower = [METRICS[each].title for each in ("st_lpips", "identity_distance") if each in metrics]
    if lower:
        notes.append(f"Of {' and '.join(lower)}, the lower one is the better one.")
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
