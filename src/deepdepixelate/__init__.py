"""DeepDepixelate: train and evaluate a 4x super-resolution GAN for faces, or use a trained one."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepdepixelate.data.resize import downscale, upscale
    from deepdepixelate.metrics.psnr_ssim import psnr_y, ssim_y
    from deepdepixelate.metrics.st_lpips import st_lpips
    from deepdepixelate.photographs.enhancer import Enhancer

__all__ = ["Enhancer", "downscale", "psnr_y", "ssim_y", "st_lpips", "upscale"]
__version__ = "0.1.0"

_MODULES = {
    "Enhancer": "photographs.enhancer",
    "downscale": "data.resize",
    "psnr_y": "metrics.psnr_ssim",
    "ssim_y": "metrics.psnr_ssim",
    "st_lpips": "metrics.st_lpips",
    "upscale": "data.resize",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use (PEP 562): torch would slow down every command."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
