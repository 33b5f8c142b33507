"""DeepDepixelate: from the CelebA archive to a trained and scored 4x super-resolution GAN."""

from typing import TYPE_CHECKING

from deepdepixelate.lazy import importing

if TYPE_CHECKING:
    from deepdepixelate.data.resize import downscale, upscale
    from deepdepixelate.metrics.pixels import psnr_y, ssim_y
    from deepdepixelate.metrics.st_lpips import st_lpips
    from deepdepixelate.photographs.enhance import Enhancer

__all__ = ["Enhancer", "downscale", "psnr_y", "ssim_y", "st_lpips", "upscale"]
__version__ = "0.1.0"

# torch and scikit-image come along only with what needs them: --help is quick.
__getattr__ = importing(
    __name__,
    {
        "Enhancer": "deepdepixelate.photographs.enhance",
        "downscale": "deepdepixelate.data.resize",
        "psnr_y": "deepdepixelate.metrics.pixels",
        "ssim_y": "deepdepixelate.metrics.pixels",
        "st_lpips": "deepdepixelate.metrics.st_lpips",
        "upscale": "deepdepixelate.data.resize",
    },
)
