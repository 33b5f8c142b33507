"""DeepDepixelate: from the CelebA archive to a trained and scored 4x super-resolution GAN."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepdepixelate.enhancing.enhancer import Enhancer
    from deepdepixelate.imaging import downscale, psnr_y, ssim_y, upscale
    from deepdepixelate.metrics.st_lpips import st_lpips

__all__ = ["Enhancer", "downscale", "psnr_y", "ssim_y", "st_lpips", "upscale"]
__version__ = "0.1.0"

_PLACES = {
    "Enhancer": "deepdepixelate.enhancing.enhancer",
    "downscale": "deepdepixelate.imaging",
    "psnr_y": "deepdepixelate.imaging",
    "ssim_y": "deepdepixelate.imaging",
    "st_lpips": "deepdepixelate.metrics.st_lpips",
    "upscale": "deepdepixelate.imaging",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, only then: commands that need none are quick."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
