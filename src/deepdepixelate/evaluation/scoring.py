"""PSNR and SSIM of every model on every image, and their averages."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from deepdepixelate.errors import UserError
from deepdepixelate.imaging.metrics import PROTOCOL, psnr_y, ssim_y
from deepdepixelate.imaging.resize import upscale
from deepdepixelate.imaging.shards import ImagePairs, ShardedImages
from deepdepixelate.models.inference import enlarge
from deepdepixelate.models.weights import Weights, build_generator
from deepdepixelate.training.device import find_device

Enlarger = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""Enlarges uint8 images (N, h, w, 3) by a scale."""

METRICS = ("psnr_y", "ssim_y")


def enlargers(generators: Mapping[str, Weights], *, scale: int, device: str) -> dict[str, Enlarger]:
    """Bicubic enlargement, always a row, and then the generators, by name.

    Raises:
        UserError: weights that are damaged or of another scale, or no such device.
    """
    found = find_device(device)

    def of(name: str, weights: Weights) -> Enlarger:
        generator = build_generator(weights).to(found)
        if generator.architecture.scale != scale:
            raise UserError(
                f"{name} enlarges {generator.architecture.scale} times, the images are of scale "
                f"{scale}: train it on them, or degrade by its scale (degrade.scale)."
            )
        return lambda images, _: enlarge(generator, images, found)

    return {"bicubic": upscale} | {name: of(name, each) for name, each in generators.items()}


def score_pairs(
    set_name: str,
    pairs: ImagePairs,
    models: Mapping[str, Enlarger],
    *,
    batch_size: int,
    border: int | None,
) -> pd.DataFrame:
    """Score every model on every pair.

    Args:
        set_name: what to call this set of images.
        pairs: originals and what was made of them.
        models: by name.
        batch_size: images in memory at a time.
        border: pixels left out at each side; None for as many as the scale.

    Returns:
        A row an image and model: ``set``, ``image``, ``model``, ``psnr_y`` (dB), ``ssim_y``.
    """
    border = pairs.scale if border is None else border
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(pairs), desc=f"score {set_name}", unit="image") as progress:
        for hr, lr in pairs.batches(batch_size):
            for model, enlarger in models.items():
                sr = enlarger(lr.pixels, pairs.scale)
                scores = zip(
                    hr.names,
                    psnr_y(sr, hr.pixels, border),
                    ssim_y(sr, hr.pixels, border),
                    strict=True,
                )
                rows += [
                    {"set": set_name, "image": name, "model": model, "psnr_y": psnr, "ssim_y": ssim}
                    for name, psnr, ssim in scores
                ]
            progress.update(len(hr.names))
    return pd.DataFrame(rows)


def summarise(scores: pd.DataFrame) -> dict[str, Any]:
    """Averages over images, per set and model, as the ``sets`` of ``evaluation.json``."""
    summary: dict[str, Any] = {}
    for set_name, of_set in scores.groupby("set", sort=False):
        means = of_set.groupby("model", sort=False)[list(METRICS)].mean()
        summary[str(set_name)] = {
            "images": int(of_set["image"].nunique()),
            "models": {
                str(model): {metric: float(means.loc[model, metric]) for metric in METRICS}
                for model in means.index
            },
        }
    return summary


def as_metrics(summary: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Averages as kedro-mlflow logs them: ``<set>.<model>.<metric>`` to value and step."""
    return {
        f"{set_name}.{model}.{metric}": {"value": value, "step": 0}
        for set_name, of_set in summary.items()
        for model, metrics in of_set["models"].items()
        for metric, value in metrics.items()
    }


def describe_protocol(lr: ShardedImages, border: int) -> dict[str, Any]:
    """How the figures were made, in words."""
    return {
        **PROTOCOL,
        "border": border,
        "scale": lr.manifest.details["scale"],
        "degradation": lr.manifest.details["kernel"],
    }
