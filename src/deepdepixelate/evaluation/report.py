"""The evaluation as one self-contained HTML page: figures, charts, faces and where they come from.

Knows neither Kedro nor MLflow. The page makes no request to any host: pictures are data: addresses,
charts inline SVG, and its content security policy forbids the rest. Everything that comes from data
is escaped. What is not there is said to be missing; no figure is made up.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from deepdepixelate.evaluation import figures, tables, wording
from deepdepixelate.evaluation.charts import color_of
from deepdepixelate.evaluation.inline_svg import COLORS
from deepdepixelate.evaluation.strips import (
    Example,
    busiest_window,
    choose_examples,
    data_uri,
)
from deepdepixelate.metrics.identity import ANOTHER_PERSON, DIFFERENT_PEOPLE

__all__ = ["Example", "choose_examples", "render"]

_PROTOCOL_TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "st_lpips": "ST-LPIPS",
    "identity_distance": "Identity distance",
    "identity_lost": "Identity lost",
    "high_frequency_ratio": "High-frequency energy",
}


def render(
    evaluation: Mapping[str, Any],
    scores: pd.DataFrame,
    spectra: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    examples: Sequence[Example],
    *,
    title: str,
    subtitle: str = "",
) -> str:
    """The whole page.

    Args:
        evaluation: as in ``evaluation.json``; any part but ``sets`` may be missing.
        scores: one row per image and model: ``set``, ``image``, ``model``, ``psnr_y`` (dB),
            ``ssim_y``, perhaps ``high_frequency_ratio``, ``st_lpips`` and
            ``identity_distance``.
        spectra: ``set``, ``model`` (``hr`` for the original), ``frequency`` (cycles per pixel),
            ``power``; may be empty.
        histories: by stage (``pretrain``, ``train_gan``) the record of the training; may be empty.
        examples: images of the set ``test`` to show.
        title: heading of the page.
        subtitle: a line below it.

    Returns:
        An HTML document.
    """
    sets = wording.part(evaluation, "sets")
    scale = _scale(evaluation, examples)
    models = list(dict.fromkeys(scores["model"]))
    environment = Environment(
        loader=PackageLoader("deepdepixelate", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["digest"] = _digest
    return environment.get_template("report.html.jinja").render(
        title=title,
        subtitle=subtitle,
        colors=COLORS,
        cards=_cards(sets, models),
        card_title=wording.set_title(_card_set(sets) or ""),
        results=[_result(name, sets, wording.part(evaluation, "identity")) for name in sets],
        faces=[_face(example, scores) for example in examples],
        different_people=DIFFERENT_PEOPLE,
        another_person=ANOTHER_PERSON,
        distributions=[figures.distribution(name, scores, models) for name in sets],
        powers=figures.powers(spectra, models, scale),
        scale=scale,
        nyquist=None if scale is None else f"{0.5 / scale:.4g}",
        trainings=[figures.training(stage, histories.get(stage)) for stage in figures.STAGES],
        below=tables.below_bicubic(scores),
        skipped=tables.skipped(sets),
        protocol=[
            (_PROTOCOL_TITLES.get(name, name.replace("_", " ").capitalize()), _text(value))
            for name, value in wording.part(evaluation, "protocol").items()
        ],
        provenance=_provenance(evaluation),
    )


def _digest(text: str) -> str:
    """What a content security policy calls a script by."""
    return "sha256-" + b64encode(sha256(str(text).encode()).digest()).decode()


def _card_set(sets: Mapping[str, Any]) -> str | None:
    return "test" if "test" in sets else next(iter(sets), None)


def _cards(sets: Mapping[str, Any], models: Sequence[str]) -> list[dict[str, Any]]:
    """A model's main figures at a glance."""
    entry = wording.part(sets, _card_set(sets) or "")
    cards = []
    for model, values in wording.part(entry, "models").items():
        lines = []
        if model != "bicubic":
            gain, _ = tables.gain_over_bicubic(entry, model, "psnr_y")
            wins = wording.part(entry, "paired", f"{model} - bicubic", "psnr_y").get("wins")
            if wording.is_number(gain):
                lines.append(f"{wording.METRICS['psnr_y'].difference(gain)} over bicubic")
            if wording.is_number(wins):
                lines.append(f"above bicubic on {wording.percent(wins)} of images")
        for metric in tables.metrics_of(wording.part(entry, "models"))[1:]:
            writer = wording.METRICS[metric]
            lines.append(f"{writer.title} {writer.write(wording.part(values).get(metric))}")
        cards.append(
            {
                "title": wording.title_of(model),
                "color": color_of(model, models),
                "psnr": wording.METRICS["psnr_y"].write(wording.part(values).get("psnr_y")),
                "lines": lines,
            }
        )
    return cards


def _result(name: str, sets: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    entry = wording.part(sets, name)
    return {
        "headline": tables.headline(name, entry, identity),
        "paired": tables.paired(name, entry),
    }


def _face(example: Example, scores: pd.DataFrame) -> dict[str, Any]:
    """An example's pictures, each whole and in part, and its scores."""
    of_face = scores[(scores["set"] == "test") & (scores["image"] == example.image)]
    metrics = [metric for metric in wording.METRICS if metric in of_face]
    measured: dict[str, dict[str, float]] = {
        str(model): {metric: float(of_model[metric].iloc[0]) for metric in metrics}
        for model, of_model in of_face.groupby("model", sort=False)
    }
    window = busiest_window(example)
    height, width, _ = example.hr.shape
    columns = [("lr", "LR input", example.lr, window.cut(example.lr, example.scale))]
    for model, image in example.enlarged.items():
        columns.append((model, wording.title_of(model), image, window.cut(image)))
    columns.append(("hr", "HR original", example.hr, window.cut(example.hr)))
    psnr = [measured.get(model, {}).get("psnr_y") for model in ("srresnet", "bicubic")]
    gain = psnr[0] - psnr[1] if psnr[0] is not None and psnr[1] is not None else None
    return {
        "image": example.image,
        "role": example.role,
        "gain": wording.METRICS["psnr_y"].difference(gain),
        "width": width,
        "height": height,
        "mark": {
            "left": 100 * window.left / width,
            "top": 100 * window.top / height,
            "width": 100 * window.side / width,
            "height": 100 * window.side / height,
        },
        "columns": [
            {
                "key": key,
                "title": title,
                "whole": data_uri(whole),
                "crop": data_uri(crop),
                "scores": _captions(measured.get(key, {})),
            }
            for key, title, whole, crop in columns
        ],
    }


def _captions(measured: Mapping[str, float]) -> list[str]:
    return [
        ("" if metric in ("psnr_y", "ssim_y") else f"{wording.METRICS[metric].title} ")
        + wording.METRICS[metric].write(value)
        for metric, value in measured.items()
    ]


def _scale(evaluation: Mapping[str, Any], examples: Sequence[Example]) -> int | None:
    stated = str(wording.part(evaluation, "protocol").get("scale"))
    if stated.isdigit() and int(stated) > 0:
        return int(stated)
    return examples[0].scale if examples else None


def _text(value: Any) -> str:
    if value is None or value == "":
        return wording.MISSING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        flat: dict[str, str] = {}
        for name, inner in value.items():
            flat |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
        return flat
    return {prefix: _text(value)}


def _provenance(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where the figures come from, in groups: this evaluation, the data, each network."""
    provenance = dict(wording.part(evaluation, "provenance"))
    weights, data = wording.part(provenance, "weights"), provenance.pop("data", None)
    provenance.pop("weights", None)
    seconds = provenance.pop("seconds", None)
    groups: dict[str, Mapping[str, Any]] = {
        "This evaluation": {
            "mlflow_run_id": None,
            "git_commit": None,
            "device": None,
            **provenance,
            "duration": f"{seconds:.1f} s" if wording.is_number(seconds) else None,
        },
        "Test data (SHA-256)": {"hr": None, "lr": None, **wording.part({"data": data}, "data")},
    }
    for name in weights:
        groups[f"{wording.title_of(name)}: weights and training"] = wording.part(weights, name)
    return [{"title": title, "rows": list(_flat(group).items())} for title, group in groups.items()]
