"""Resampling, colour, metrics and pixels at rest. Knows neither Kedro nor MLflow."""

from typing import TYPE_CHECKING

from deepdepixelate.lazy import importing

if TYPE_CHECKING:
    from deepdepixelate.imaging.metrics import psnr_y, ssim_y
    from deepdepixelate.imaging.resize import downscale, upscale
    from deepdepixelate.metrics.st_lpips import st_lpips

__all__ = ["downscale", "psnr_y", "ssim_y", "st_lpips", "upscale"]

# A served model has no scikit-image, which the metrics need.
__getattr__ = importing(
    __name__,
    {
        "downscale": "deepdepixelate.imaging.resize",
        "psnr_y": "deepdepixelate.imaging.metrics",
        "ssim_y": "deepdepixelate.imaging.metrics",
        "st_lpips": "deepdepixelate.metrics.st_lpips",
        "upscale": "deepdepixelate.imaging.resize",
    },
)
