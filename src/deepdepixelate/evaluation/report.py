"""The evaluation as one HTML page.

The page makes no network request: images are ``data:`` addresses, Plotly's script is embedded, and
the content security policy allows nothing else. All data is escaped. Missing values are shown as
not available.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from deepdepixelate.evaluation import formatting
from deepdepixelate.evaluation.figures import (
    Chart,
    score_histograms,
    spectrum_charts,
    training_curves,
    training_facts,
)
from deepdepixelate.evaluation.pictures import data_uri, find_close_up
from deepdepixelate.evaluation.scoring import EnlargedImage
from deepdepixelate.metrics.identity import ANOTHER_PERSON, DIFFERENT_PEOPLE

STAGES = {"pretrain": "SRResNet: pretraining", "train_gan": "SRGAN: adversarial training"}

_WORST_SHOWN = 5
_SKIPPED_SHOWN = 50


def render(
    evaluation: Mapping[str, Any],
    scores: pd.DataFrame,
    spectra: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    examples: Mapping[str, Sequence[EnlargedImage]],
    *,
    title: str,
    subtitle: str = "",
) -> str:
    """The whole page as an HTML document.

    Args:
        evaluation: the content of ``evaluation.json``.
        scores: one row per image and model, see ``scoring.Scores``.
        spectra: mean power spectra, see ``scoring.Scores``.
        histories: by stage (``pretrain``, ``train_gan``) the history of the training; may be empty.
        examples: images of the set ``test`` to show, by role (best, median, worst).
        title: heading of the page.
        subtitle: a line below it.
    """
    environment = Environment(
        loader=PackageLoader("deepdepixelate", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["csp_hash"] = _csp_hash
    environment.filters["text"] = _text
    scale = evaluation["protocol"]["scale"]
    sets, degraded = formatting.split_sets(evaluation)
    return environment.get_template("report.html.jinja").render(
        title=title,
        subtitle=subtitle,
        formatting=formatting,
        metrics=formatting.METRICS,
        sets=sets,
        degraded=degraded,
        identity=evaluation["identity"],
        protocol=evaluation["protocol"],
        provenance=_provenance(evaluation["provenance"]),
        scale=scale,
        different_people=DIFFERENT_PEOPLE,
        another_person=ANOTHER_PERSON,
        faces=[_face(role, face, scores) for role in examples for face in examples[role]],
        histograms={name: score_histograms(scores, name) for name in sets},
        spectra={name: spectrum_charts(spectra, name, scale) for name in sets},
        trainings=[_training(stage, histories.get(stage)) for stage in STAGES],
        below_bicubic=_below_bicubic(scores[scores["set"].isin(list(sets))]),
        worst_shown=_WORST_SHOWN,
        skipped_shown=_SKIPPED_SHOWN,
        plotly=get_plotlyjs(),
    )


def _csp_hash(script: str) -> str:
    """A script's hash as a source of a content security policy."""
    return "sha256-" + b64encode(sha256(str(script).encode()).digest()).decode()


def _text(value: Any) -> str:
    """A value of the protocol or the provenance."""
    if value is None or value == "":
        return formatting.NOT_AVAILABLE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _face(role: str, face: EnlargedImage, scores: pd.DataFrame) -> dict[str, Any]:
    """An example: its pictures, whole and magnified, and its scores."""
    of_face = scores[(scores["set"] == "test") & (scores["image"] == face.image)]
    by_model = of_face.set_index("model").reindex(columns=list(formatting.METRICS))
    by_model = by_model.dropna(axis="columns", how="all").astype(float)
    measured = by_model.to_dict("index")
    square, scale = find_close_up(face), face.scale
    height, width, _ = face.lr.shape
    columns = [("lr", "LR input", face.lr, square.cut(face.lr))]
    for model, image in face.by_model.items():
        columns.append((model, formatting.model_title(model), image, square.cut(image, scale)))
    columns.append(("hr", "HR original", face.hr, square.cut(face.hr, scale)))
    return {
        "image": face.image,
        "role": role,
        "gain": measured["srresnet"]["psnr_y"] - measured["bicubic"]["psnr_y"],
        "width": width * scale,
        "height": height * scale,
        "mark": {
            "left": 100 * square.left / width,
            "top": 100 * square.top / height,
            "width": 100 * square.side / width,
            "height": 100 * square.side / height,
        },
        "columns": [
            {
                "key": key,
                "title": title,
                "whole": data_uri(whole),
                "crop": data_uri(crop),
                "scores": measured.get(key, {}),
            }
            for key, title, whole, crop in columns
        ],
    }


def _training(stage: str, history: pd.DataFrame | None) -> dict[str, Any]:
    """A training's curves and facts; without a chart if there is no history."""
    title = STAGES[stage]
    if history is None or history.empty:
        return {"title": title, "facts": [], "chart": None}
    heading = "Validation scores, losses and learning rate"
    chart = Chart(heading, f"{title}. {heading} by update.", training_curves(history))
    return {"title": title, "facts": training_facts(history), "chart": chart}


def _below_bicubic(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """By set and model, the images whose PSNR is below that of bicubic, worst first."""
    rows = []
    for name, of_set in scores.groupby("set", sort=False):
        psnr = of_set.pivot(index="image", columns="model", values="psnr_y")
        for model in dict.fromkeys(of_set["model"]):
            if model == "bicubic" or "bicubic" not in psnr:
                continue
            gains = (psnr[model] - psnr["bicubic"]).dropna()
            lost = gains[gains < 0].sort_values(kind="stable")
            rows.append({"set": name, "model": model, "lost": lost, "images": len(gains)})
    return rows


def _provenance(provenance: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Origin of the numbers, in groups: this evaluation, the data, each network."""
    rest = {name: value for name, value in provenance.items() if name not in ("data", "weights")}
    groups = {"This evaluation": rest, "Test data (SHA-256)": provenance["data"]}
    for model, weights in provenance["weights"].items():
        groups[f"{formatting.model_title(model)}: weights and training"] = weights
    return {title: _flat(group) for title, group in groups.items()}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries as one, with names joined by dots; their lists are numbered from 1."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = {str(number): each for number, each in enumerate(value, 1)}
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{inner}": each for inner, each in _flat(value).items()}
        else:
            flat[name] = value
    return flat
