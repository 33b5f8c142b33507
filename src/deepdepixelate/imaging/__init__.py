"""Resampling, colour, metrics and pixels at rest. Knows neither Kedro nor MLflow."""

from typing import TYPE_CHECKING, Any

from deepdepixelate.imaging.metrics import psnr_y, ssim_y
from deepdepixelate.imaging.resize import downscale, upscale

if TYPE_CHECKING:
    from deepdepixelate.metrics.st_lpips import st_lpips

__all__ = ["downscale", "psnr_y", "ssim_y", "st_lpips", "upscale"]


def __getattr__(name: str) -> Any:
    """``st_lpips`` stands beside the other metrics, but its network is for those who ask for it."""
    if name != "st_lpips":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepdepixelate.metrics.st_lpips import st_lpips

    return st_lpips
