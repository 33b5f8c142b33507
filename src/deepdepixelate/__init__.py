"""DeepDepixelate: from the CelebA archive to a trained and scored 4x super-resolution GAN."""

from typing import TYPE_CHECKING

from deepdepixelate.lazy import importing

if TYPE_CHECKING:
    from deepdepixelate.data.resize import downscale, upscale
    from deepdepixelate.metrics.psnr_ssim import psnr_y, ssim_y
    from deepdepixelate.metrics.st_lpips import st_lpips
    from deepdepixelate.photographs.enhancer import Enhancer

__all__ = ["Enhancer", "downscale", "psnr_y", "ssim_y", "st_lpips", "upscale"]
__version__ = "0.1.0"

# torch and scikit-image come along only with what needs them: --help is quick.
__getattr__ = importing(
    __name__,
    {
        "Enhancer": "deepdepixelate.photographs.enhancer",
        "downscale": "deepdepixelate.data.resize",
        "psnr_y": "deepdepixelate.metrics.psnr_ssim",
        "ssim_y": "deepdepixelate.metrics.psnr_ssim",
        "st_lpips": "deepdepixelate.metrics.st_lpips",
        "upscale": "deepdepixelate.data.resize",
    },
)
