"""ST-LPIPS: how different two images look to a network trained to judge that as people do.

Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022, arXiv 2207.13686: LPIPS
(Zhang et al., arXiv 1801.03924) whose networks are pooled with anti-aliasing, so that a shift by a
pixel, which nobody sees, counts next to nothing.
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
from deepdepixelate.models.shift_tolerant import SMALLEST_SIDE, ShiftTolerantLPIPS, Trunk

JUDGE: Trunk = "alex"
"""The trunk of all figures. A generator that is trained on the other one's features is not judged
by what it was trained to please."""

DEFINITION = (
    "ST-LPIPS (arXiv 2207.13686), AlexNet trunk, RGB in [-1, 1], whole image, averaged over "
    "images; smaller is better"
)
"""The distance in words, for the files that carry figures."""


class STLPIPS:
    """The distance on one device, for images as they are stored; on any thread."""

    def __init__(self, device: torch.device | str = "cpu", trunk: Trunk = JUDGE) -> None:
        """Load the network.

        Raises:
            UserError: the package with the weights is not installed, or its file is damaged.
        """
        self._device = torch.device(device)
        self._smallest = SMALLEST_SIDE[trunk]
        self._network = ShiftTolerantLPIPS(trunk).to(self._device)
        # On a CPU about twice as fast, and equal to nine digits.
        convert_conv2d_weight_memory_format(self._network, torch.channels_last)

    def distances(
        self, images: Iterable[NDArray[np.uint8]], original: NDArray[np.uint8]
    ) -> list[float]:
        """How far each image is from the original, whose features are computed only once.

        Args:
            images: uint8 RGB (H, W, 3) each.
            original: uint8 RGB (H, W, 3).

        Returns:
            A distance each, 0 for an equal image; NaN for images that are too small.

        Raises:
            UserError: the network computes something that is no number.
        """
        if min(original.shape[:2]) < self._smallest:
            return [math.nan for _ in images]
        with torch.inference_mode():  # one by one: no faster in batches, and in less memory
            features = self._features(original)
            found = [
                float(self._network.distance(self._features(image), features)) for image in images
            ]
        if not all(map(math.isfinite, found)):
            raise UserError(
                f"the network of ST-LPIPS computes what is no number on {self._device}. Compute on "
                "the CPU instead: evaluate.device=cpu, or training.device=cpu while training."
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
    """Shift-tolerant LPIPS; smaller is better, 0 for equal images.

    Whole images are compared, without a border left out, in RGB.

    Args:
        sr: super-resolved image or images, uint8 RGB, shape (H, W, 3) or (N, H, W, 3).
        hr: their originals, of the same shape.
        trunk: ``alex``, of all figures of this project, or ``vgg``, about four times slower.
        device: where to compute. The network stays in its memory.

    Returns:
        A float for one image; a float64 array of shape (N,) for a batch. NaN for images too small
        for the network, see ``SMALLEST_SIDE``.

    Raises:
        ValueError: the shapes differ, or the images are not uint8 with three channels last.
        UserError: the package with the weights is not installed, or its file is damaged.
    """
    for images in (sr, hr):
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-1] != 3:
            raise ValueError(
                "images must be uint8 RGB of shape (H, W, 3) or (N, H, W, 3), "
                f"not {images.dtype} of shape {tuple(images.shape)}"
            )
    if sr.shape != hr.shape:
        raise ValueError(f"the images to compare differ in shape: {sr.shape} and {hr.shape}")
    metric = _metric(str(device), trunk)
    if sr.ndim == 3:
        return metric.distances([sr], hr)[0]
    pairs = zip(sr, hr, strict=True)
    return np.array([metric.distances([one], other)[0] for one, other in pairs], np.float64)


@cache
def _metric(device: str, trunk: Trunk) -> STLPIPS:
    return STLPIPS(device, trunk)
