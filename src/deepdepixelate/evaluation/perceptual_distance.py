"""LPIPS: how different two images look to a network trained to judge that as people do.

Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric* (2018), with
AlexNet, by torchmetrics. Its backbone's weights (233 MB, torchvision's) are not part of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from deepdepixelate.errors import first_line

BACKBONE = "alexnet-owt-7be5be79.pth"

_SMALLEST = 31
"""Pixels a side below which AlexNet's poolings leave nothing."""

Mode = Literal["auto", "download", "off"]


@dataclass(frozen=True)
class PerceptualDistance:
    """LPIPS, or why there is none.

    Attributes:
        measure: two uint8 RGB images (H, W, 3) to their distance, 0 for equal ones, NaN for images
            too small to judge; on any thread. Or None.
        reason: why ``measure`` is None.
    """

    measure: Callable[[NDArray[np.uint8], NDArray[np.uint8]], float] | None = None
    reason: str | None = None

    def describe(self) -> dict[str, Any]:
        """As ``evaluation.json`` says it."""
        if self.measure is None:
            return {"available": False, "reason": self.reason}
        return {"available": True, "definition": "LPIPS 0.1, AlexNet, RGB in [-1, 1], whole image"}


def find_perceptual_distance(mode: Mode, device: torch.device) -> PerceptualDistance:
    """LPIPS where its backbone can be had.

    Args:
        mode: ``auto`` takes the backbone if torchvision has fetched it before, ``download`` lets it
            be fetched, ``off`` does without.
        device: where to compute.
    """
    if mode == "off":
        return PerceptualDistance(reason="switched off by evaluate.lpips")
    place = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
    if mode == "auto" and not place.is_file():
        return PerceptualDistance(
            reason="AlexNet's weights were not downloaded (233 MB; evaluate.lpips=download does)"
        )
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        network = LearnedPerceptualImagePatchSimilarity(net_type="alex").to(device).eval()
    except Exception as error:  # torchvision beside another build of torch raises what it likes
        return PerceptualDistance(reason=f"AlexNet cannot be had here: {first_line(error)}")

    def measure(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
        if min(first.shape[:2]) < _SMALLEST:
            return math.nan
        with torch.inference_mode():  # not the metric itself: its state is no thread's own
            return float(network.net(*(_as_input(image, device) for image in (first, second))))

    return PerceptualDistance(measure)


def _as_input(image: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    values = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None]
    return values.float().div_(127.5).sub_(1.0)
