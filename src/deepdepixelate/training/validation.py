"""How good a generator is on the validation split while it trains."""

import numpy as np
import torch

from deepdepixelate.evaluation.spectrum import spectrum
from deepdepixelate.imaging.metrics import psnr_y, ssim_y
from deepdepixelate.imaging.shards import ImagePairs
from deepdepixelate.models.generator import Generator
from deepdepixelate.models.inference import enlarge

_BATCH_SIZE = 16


class Validator:
    """PSNR, SSIM and detail on the first images of a set of pairs, as in the evaluation."""

    def __init__(self, pairs: ImagePairs, images: int, device: torch.device) -> None:
        self._pairs = pairs
        self._count = min(images, len(pairs))
        self._device = device

    def __call__(self, generator: Generator) -> dict[str, float]:
        """Means of a generator: ``val.psnr_y`` (dB), ``val.ssim_y``, ``val.high_frequency_ratio``.

        The last one, see ``evaluation.spectrum``, is left out where no image has any detail.
        """
        scale = self._pairs.scale
        psnr: list[float] = []
        ssim: list[float] = []
        detail: list[float] = []
        for start in range(0, self._count, _BATCH_SIZE):
            indices = range(start, min(start + _BATCH_SIZE, self._count))
            hr = np.stack([self._pairs.hr[index] for index in indices])
            lr = np.stack([self._pairs.lr[index] for index in indices])
            sr = enlarge(generator, lr, self._device)
            psnr.extend(psnr_y(sr, hr, scale))
            ssim.extend(ssim_y(sr, hr, scale))
            detail.extend(
                spectrum(made, scale, scale).high_frequency_ratio(spectrum(hr_image, scale, scale))
                for made, hr_image in zip(sr, hr, strict=True)
            )
        means = {"val.psnr_y": float(np.mean(psnr)), "val.ssim_y": float(np.mean(ssim))}
        if not np.isnan(detail).all():
            means["val.high_frequency_ratio"] = float(np.nanmean(detail))
        return means
