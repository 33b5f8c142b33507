"""How good a generator is on the validation split while it trains."""

import numpy as np
import torch

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.metrics.psnr_ssim import psnr_y, ssim_y
from deepdepixelate.metrics.spectrum import spectrum
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.models.enlarge import enlarge
from deepdepixelate.models.generator import Generator

_BATCH_SIZE = 16


class Validator:
    """PSNR, SSIM, ST-LPIPS and detail on the first images of a set of pairs, as in the evaluation.

    Raises:
        UserError: the weights of ST-LPIPS are missing or damaged.
    """

    def __init__(self, pairs: ImagePairs, images: int, device: torch.device) -> None:
        self._pairs = pairs
        self._count = min(images, len(pairs))
        self._device = device
        self._st_lpips = STLPIPS(device)

    def __call__(self, generator: Generator) -> dict[str, float]:
        """Means of a generator, by name.

        ``val.psnr_y`` (dB), ``val.ssim_y``, ``val.st_lpips`` and ``val.high_frequency_ratio``.
        ST-LPIPS is left out where all images are too small for its network; the ratio, see
        ``evaluation.spectrum``, where none has any detail.
        """
        scale = self._pairs.scale
        psnr: list[float] = []
        ssim: list[float] = []
        others: dict[str, list[float]] = {"val.st_lpips": [], "val.high_frequency_ratio": []}
        for start in range(0, self._count, _BATCH_SIZE):
            indices = range(start, min(start + _BATCH_SIZE, self._count))
            hr = np.stack([self._pairs.hr[index] for index in indices])
            lr = np.stack([self._pairs.lr[index] for index in indices])
            sr = enlarge(generator, lr, self._device)
            psnr.extend(psnr_y(sr, hr, scale))
            ssim.extend(ssim_y(sr, hr, scale))
            for made, original in zip(sr, hr, strict=True):
                others["val.st_lpips"] += self._st_lpips.distances([made], original)
                others["val.high_frequency_ratio"].append(
                    spectrum(made, scale, scale).high_frequency_ratio(
                        spectrum(original, scale, scale)
                    )
                )
        means = {"val.psnr_y": float(np.mean(psnr)), "val.ssim_y": float(np.mean(ssim))}
        for name, values in others.items():
            if not np.isnan(values).all():
                means[name] = float(np.nanmean(values))
        return means
