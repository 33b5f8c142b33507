"""ST-LPIPS: a perceptual distance between images, trained on human judgements.

Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022, arXiv 2207.13686: LPIPS
(Zhang et al., arXiv 1801.03924) with anti-aliased pooling, so that a shift by a pixel, which is
invisible, hardly changes the distance.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from deepdepixelate.errors import UserError
from deepdepixelate.metrics.psnr_ssim import check_pair
from deepdepixelate.models.shift_tolerant import SMALLEST_SIDE, ShiftTolerantLPIPS, Trunk

JUDGE: Trunk = "alex"
"""The trunk used for evaluation. Trainings use the other one, so that no generator is scored with
the features that it was trained on."""

DEFINITION = (
    "ST-LPIPS (arXiv 2207.13686), AlexNet trunk, RGB in [-1, 1], whole image, averaged over "
    "images; smaller is better"
)
"""The distance in words, for ``evaluation.json``."""


class STLPIPS:
    """The distance on one device, between uint8 images. Thread-safe."""

    def __init__(self, device: torch.device | str = "cpu", trunk: Trunk = JUDGE) -> None:
        """Load the network.

        Raises:
            UserError: the package with the weights is not installed, or its file is damaged.
        """
        self._device = torch.device(device)
        self._smallest = SMALLEST_SIDE[trunk]
        self._network = ShiftTolerantLPIPS(trunk).to(self._device)
        # About twice as fast on a CPU; equal to nine digits.
        convert_conv2d_weight_memory_format(self._network, torch.channels_last)

    def distances(
        self, images: Iterable[NDArray[np.uint8]], original: NDArray[np.uint8]
    ) -> list[float]:
        """Distance of each image from the original, whose features are computed once.

        Args:
            images: uint8 RGB (H, W, 3) each.
            original: uint8 RGB (H, W, 3).

        Returns:
            One distance per image, 0 for identical images; NaN if they are too small.

        Raises:
            UserError: the network returns a value that is not finite.
        """
        if min(original.shape[:2]) < self._smallest:
            return [math.nan for _ in images]
        with torch.inference_mode():  # batches are no faster, and take more memory
            features = self._features(original)
            found = [
                float(self._network.distance(self._features(image), features)) for image in images
            ]
        if not all(map(math.isfinite, found)):
            raise UserError(
                f"ST-LPIPS is not finite on {self._device}. Compute on the CPU instead: "
                "evaluate.device=cpu, or training.device=cpu in a training."
            )
        return found

    def _features(self, image: NDArray[np.uint8]) -> list[Tensor]:
        values = torch.from_numpy(np.array(image)).to(self._device).permute(2, 0, 1)[None]
        features: list[Tensor] = self._network.trunk(values.float().div_(127.5).sub_(1.0))
        return features


def st_lpips(
    sr: NDArray[np.uint8],
    hr: NDArray[np.uint8],
    *,
    trunk: Trunk = JUDGE,
    device: torch.device | str = "cpu",
) -> Any:
    """Shift-tolerant LPIPS in RGB, on whole images; smaller is better, 0 for identical images.

    Args:
        sr: super-resolved image or images, uint8 RGB, shape (H, W, 3) or (N, H, W, 3).
        hr: the originals, same shape.
        trunk: ``alex``, as in the evaluation, or ``vgg``, about four times slower.
        device: where to compute. The network stays in its memory.

    Returns:
        A float for one image; a float64 array of shape (N,) for a batch. NaN for images too small
        for the network, see ``SMALLEST_SIDE``.

    Raises:
        ValueError: the shapes differ, or the images are not uint8 with three channels last.
        UserError: the package with the weights is not installed, or its file is damaged.
    """
    check_pair(sr, hr)
    metric = _metric(str(device), trunk)
    if sr.ndim == 3:
        return metric.distances([sr], hr)[0]
    pairs = zip(sr, hr, strict=True)
    return np.array([metric.distances([one], other)[0] for one, other in pairs], np.float64)


@cache
def _metric(device: str, trunk: Trunk) -> STLPIPS:
    return STLPIPS(device, trunk)
