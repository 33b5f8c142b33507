"""Which charts the report has, and what they say of scores, spectra and trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from deepdepixelate.evaluation.charts import Line, color_of, histogram, line_chart
from deepdepixelate.evaluation.wording import METRICS, set_title, title_of

STAGES = {"pretrain": "SRResNet: pretraining", "train_gan": "SRGAN: adversarial training"}


@dataclass(frozen=True)
class _Curve:
    """One chart of a training.

    Attributes:
        heading: its title.
        y_label: what its vertical axis counts.
        columns: of the history, with the label and the colour of each.
        log: a logarithmic vertical axis, unless there are values below zero (as of minus PSNR).
        level: where a horizontal line is marked.
    """

    heading: str
    y_label: str
    columns: Mapping[str, tuple[str, str]]
    log: bool = False
    level: float | None = None


def _common_curves(color: str) -> list[_Curve]:
    return [
        _Curve("Validation PSNR", "PSNR / dB", {"val.psnr_y": ("validation", color)}),
        _Curve("Validation ST-LPIPS", "ST-LPIPS", {"val.st_lpips": ("validation", color)}),
        _Curve("Learning rate", "learning rate", {"learning_rate": ("learning rate", color)}),
    ]


_CURVES = {
    "pretrain": [
        _Curve("Loss", "loss", {"loss": ("loss", "srresnet")}, log=True),
        *_common_curves("srresnet"),
    ],
    "train_gan": [
        _Curve("Content loss", "loss", {"content_loss": ("content loss", "srgan")}, log=True),
        _Curve(
            "Adversarial losses",
            "cross-entropy",
            {
                "adversarial_loss": ("of the generator", "srgan"),
                "discriminator_loss": ("of the discriminator", "other-2"),
            },
        ),
        _Curve(
            "What the discriminator takes for real",
            "probability",
            {
                "discriminator_on_hr": ("originals", "hr"),
                "discriminator_on_sr": ("enlargements", "srgan"),
            },
            level=0.5,
        ),
        *_common_curves("srgan"),
    ],
}


def distribution(name: str, scores: pd.DataFrame, models: Sequence[str]) -> dict[str, Any]:
    """Histograms of a set's PSNR, its gain over bicubic and what networks say, a model each."""
    of_set = scores[scores["set"] == name]
    of_models = {model: of_set[of_set["model"] == model].set_index("image") for model in models}
    psnr = {model: of_model["psnr_y"].astype(float) for model, of_model in of_models.items()}
    title = set_title(name)
    key = f"set-{list(dict.fromkeys(scores['set'])).index(name) if len(of_set) else 'none'}"
    return {
        "title": title,
        "images": int(of_set["image"].nunique()),
        "psnr": histogram(
            f"{key}-psnr",
            {title_of(model): (color_of(model, models), psnr[model]) for model in models},
            description=f"Histogram of the PSNR of the images of {title}, a line for each model.",
            x_label="PSNR / dB",
        ),
        "gain": histogram(
            f"{key}-gain",
            {
                title_of(model): (color_of(model, models), psnr[model] - psnr["bicubic"])
                for model in models
                if model != "bicubic" and "bicubic" in psnr
            },
            description=f"Histogram of the PSNR gain over bicubic on the images of {title}.",
            x_label="PSNR gain over bicubic / dB",
            zero=True,
        ),
        "distances": [
            (METRICS[metric].title, drawing)
            for metric in ("st_lpips", "identity_distance")
            if metric in of_set
            and (
                drawing := histogram(
                    f"{key}-{metric}",
                    {
                        title_of(model): (color_of(model, models), of_model[metric].astype(float))
                        for model, of_model in of_models.items()
                    },
                    description=f"Histogram of the {METRICS[metric].title} of the images of "
                    f"{title}, a line for each model.",
                    x_label=METRICS[metric].title,
                )
            )
        ],
    }


def powers(spectra: pd.DataFrame, models: Sequence[str], scale: int | None) -> list[dict[str, Any]]:
    """Power spectra of each set, as they are and as a share of the original's."""
    if spectra.empty:
        return []
    nyquist = None if scale is None else (0.5 / scale, "Nyquist frequency of LR")
    powers = []
    for index, (name, of_set) in enumerate(spectra.groupby("set", sort=False)):
        power = {
            str(model): of_model.set_index("frequency")["power"].astype(float).sort_index()
            for model, of_model in of_set.groupby("model", sort=False)
        }
        original = power.get("hr")
        titles = {model: title_of(model) for model in power} | {"hr": "original"}
        lines = [
            Line(titles[model], color_of(model, models), each.index, each)
            for model, each in power.items()
        ]
        shares = [
            Line(titles[model], color_of(model, models), each.index, 100 * each / original)
            for model, each in power.items()
            if model != "hr" and original is not None
        ]
        title = set_title(str(name))
        powers.append(
            {
                "title": title,
                "power": line_chart(
                    f"power-{index}",
                    lines,
                    description=f"Power of luma by frequency, the mean over the images of {title}.",
                    x_label="frequency / cycles per pixel",
                    y_label="power",
                    log=True,
                    vertical=nyquist,
                ),
                "share": line_chart(
                    f"share-{index}",
                    shares,
                    description=f"Power by frequency as a share of the original's, {title}.",
                    x_label="frequency / cycles per pixel",
                    y_label="% of the original's power",
                    vertical=nyquist,
                    horizontal=100.0,
                ),
            }
        )
    return powers


def training(stage: str, history: pd.DataFrame | None) -> dict[str, Any]:
    """A training's curves, as far as its record has them."""
    if history is None or history.empty or "update" not in history:
        return {"title": STAGES[stage], "facts": [], "charts": []}
    charts = []
    for index, plan in enumerate(_CURVES[stage]):
        columns = {name: look for name, look in plan.columns.items() if name in history}
        lines = [
            Line(label, color, history["update"], history[name], name.startswith("val."))
            for name, (label, color) in columns.items()
        ]
        drawing = line_chart(
            f"{stage}-{index}",
            lines,
            description=f"{STAGES[stage]}, by update: {plan.heading.lower()}.",
            x_label="update",
            y_label=plan.y_label,
            log=plan.log and not (history[list(columns)] < 0).any(axis=None),
            horizontal=plan.level,
        )
        if drawing is not None:
            charts.append({"heading": plan.heading, "svg": drawing})
    return {"title": STAGES[stage], "facts": _facts(history), "charts": charts}


def _facts(history: pd.DataFrame) -> list[str]:
    facts = [f"{int(history['update'].max()):,} updates".replace(",", "\N{NO-BREAK SPACE}")]
    if "crops_per_second" in history and history["crops_per_second"].notna().any():
        facts.append(f"{history['crops_per_second'].median():.3g} crops/s (median)")
    if "val.psnr_y" in history and history["val.psnr_y"].notna().any():
        validated = history.dropna(subset="val.psnr_y").sort_values("val.psnr_y", kind="stable")
        psnr, update = validated[["val.psnr_y", "update"]].to_numpy(dtype=float)[-1]
        facts.append(f"best validation PSNR {psnr:.2f} dB at update {update:.0f}")
    return facts
