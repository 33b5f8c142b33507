"""Statistics of the scores: means over images, confidence intervals, paired differences.

The 95 % confidence intervals are Student's t over images. They show how far a mean would move with
other images of the same kind, not with another training.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdepixelate.metrics.identity import ANOTHER_PERSON

METRICS = ("psnr_y", "ssim_y", "high_frequency_ratio", "st_lpips", "identity_distance")
"""Columns of the scores, those that were measured."""

PAIRED = ("psnr_y", "ssim_y", "st_lpips", "identity_distance")
"""Metrics that are compared between two models image by image."""

CONFIDENCE = 0.95

PAPER_SCALE = 4

PAPER = {
    "set5": {
        "bicubic": {"psnr_y": 28.43, "ssim_y": 0.8211},
        "srresnet": {"psnr_y": 32.05, "ssim_y": 0.9019},
        "srgan": {"psnr_y": 29.40, "ssim_y": 0.8472},
    },
    "set14": {
        "bicubic": {"psnr_y": 25.99, "ssim_y": 0.7486},
        "srresnet": {"psnr_y": 28.49, "ssim_y": 0.8184},
        "srgan": {"psnr_y": 26.02, "ssim_y": 0.7397},
    },
    "bsd100": {
        "bicubic": {"psnr_y": 25.94, "ssim_y": 0.6935},
        "srresnet": {"psnr_y": 27.58, "ssim_y": 0.7620},
        "srgan": {"psnr_y": 25.16, "ssim_y": 0.6688},
    },
}
"""Scores of the SRGAN paper at 4x (arXiv 1609.04802, table 2). Its networks were trained on other
data, and its SSIM is another implementation."""


def summarise(scores: pd.DataFrame, scale: int) -> dict[str, Any]:
    """The entry ``sets`` of ``evaluation.json``: means over the images of each set.

    Identical images have an infinite PSNR; they are left out of its mean and counted as
    ``identical``. Images without a value of a metric are left out of its mean and counted per
    metric as ``not_available``. A mean over no image is None. If identity was measured,
    ``faces_found`` counts the faces, and ``identity_lost`` is the share of them whose distance is
    above ``ANOTHER_PERSON``.

    Args:
        scores: one row per image and model, see ``scoring.Scores``.
        scale: of the models; the paper's scores are added at 4.
    """
    summary: dict[str, Any] = {}
    for set_name, of_set in scores.groupby("set", sort=False):
        tables = {
            metric: of_set.pivot(index="image", columns="model", values=metric)
            for metric in METRICS
            if metric in of_set
        }
        models = list(dict.fromkeys(of_set["model"]))
        entry: dict[str, Any] = {
            "images": int(of_set["image"].nunique()),
            "models": {model: _model(tables, model) for model in models},
            "paired": {
                f"{second} - {first}": _paired(tables, first, second)
                for first, second in combinations(models, 2)
            },
        }
        without = {metric: int(table.isna().any(axis=1).sum()) for metric, table in tables.items()}
        if "identity_distance" in tables:
            entry["faces_found"] = entry["images"] - without["identity_distance"]
        if unavailable := {metric: count for metric, count in without.items() if count}:
            entry["not_available"] = unavailable
        if scale == PAPER_SCALE and (paper := PAPER.get(str(set_name).lower())):
            entry["paper"] = {model: paper[model] for model in models if model in paper}
        summary[str(set_name)] = entry
    return summary


def as_metrics(summary: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The means in the format of kedro-mlflow: ``<set>.<model>.<metric>`` to value and step."""
    return {
        f"{set_name}.{model}.{metric}": {"value": values[metric], "step": 0}
        for set_name, of_set in summary.items()
        for model, values in of_set["models"].items()
        for metric in (*METRICS, "identity_lost")
        if values.get(metric) is not None
    }


def mean_with_interval(values: NDArray[np.float64]) -> tuple[float | None, list[float] | None]:
    """Mean of the finite values, and its 95 % confidence interval if there are two or more."""
    from scipy import stats  # slow to import

    finite = values[np.isfinite(values)]
    if not len(finite):
        return None, None
    mean = float(np.mean(finite))
    if len(finite) < 2:
        return mean, None
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(finite) - 1) * stats.sem(finite))
    return mean, [mean - half, mean + half]


def _model(tables: Mapping[str, pd.DataFrame], model: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for metric, table in tables.items():
        values[metric], intervals[metric] = mean_with_interval(table[model].to_numpy())
    if values.setdefault("identity_distance", None) is not None:
        distances = tables["identity_distance"][model].dropna()
        values["identity_lost"] = float((distances > ANOTHER_PERSON).mean())
    identical = int(np.isposinf(tables["psnr_y"][model]).sum())
    return values | {"ci95": intervals} | ({"identical": identical} if identical else {})


def _paired(tables: Mapping[str, pd.DataFrame], first: str, second: str) -> dict[str, Any]:
    """``second`` minus ``first`` on the same images; ``wins`` is the share above zero."""
    paired = {}
    for metric in PAIRED:
        if metric not in tables:
            continue
        with np.errstate(invalid="ignore"):
            difference = (tables[metric][second] - tables[metric][first]).to_numpy()
        mean, interval = mean_with_interval(difference)
        compared = difference[~np.isnan(difference)]
        wins = float(np.mean(compared > 0)) if len(compared) else None
        paired[metric] = {"mean": mean, "ci95": interval, "wins": wins}
    return paired
