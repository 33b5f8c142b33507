"""Resampling, colour, metrics and pixels at rest. Knows neither Kedro nor MLflow."""

from deepdepixelate.imaging.metrics import psnr_y, ssim_y
from deepdepixelate.imaging.resize import downscale, upscale

__all__ = ["downscale", "psnr_y", "ssim_y", "upscale"]
