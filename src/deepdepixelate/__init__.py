"""DeepDepixelate: from the CelebA archive to a trained and scored 4x super-resolution GAN."""

from typing import TYPE_CHECKING

from deepdepixelate.lazy import importing

if TYPE_CHECKING:
    from deepdepixelate.enhancing.enhancer import Enhancer
    from deepdepixelate.imaging import downscale, psnr_y, ssim_y, st_lpips, upscale

__all__ = ["Enhancer", "downscale", "psnr_y", "ssim_y", "st_lpips", "upscale"]
__version__ = "0.1.0"

# torch and scikit-image come along only with what needs them: --help is quick.
__getattr__ = importing(
    __name__,
    {
        "Enhancer": "deepdepixelate.enhancing.enhancer",
        "downscale": "deepdepixelate.imaging",
        "psnr_y": "deepdepixelate.imaging",
        "ssim_y": "deepdepixelate.imaging",
        "st_lpips": "deepdepixelate.imaging",
        "upscale": "deepdepixelate.imaging",
    },
)
