"""Resampling, colour, metrics and pixels at rest. Knows neither Kedro nor MLflow."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepdepixelate.imaging.metrics import psnr_y, ssim_y
    from deepdepixelate.imaging.resize import downscale, upscale
    from deepdepixelate.metrics.st_lpips import st_lpips

__all__ = ["downscale", "psnr_y", "ssim_y", "st_lpips", "upscale"]

_PLACES = {
    "downscale": "deepdepixelate.imaging.resize",
    "psnr_y": "deepdepixelate.imaging.metrics",
    "ssim_y": "deepdepixelate.imaging.metrics",
    "st_lpips": "deepdepixelate.metrics.st_lpips",
    "upscale": "deepdepixelate.imaging.resize",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: a served model has no scikit-image, which the metrics need."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
