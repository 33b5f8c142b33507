"""Degraded sets: the test images with LR of one kind and strength of degradation."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from deepdepixelate.data.random_numbers import random_of
from deepdepixelate.data.realistic import Degradation, apply_degradation
from deepdepixelate.data.shards import ImageBatch, ShardedImages
from deepdepixelate.parameters import DegradedSet


class DegradedImages:
    """HR images of a split, and LR images that are made from them by one fixed degradation.

    Attributes:
        scale: how many times smaller LR is.
    """

    def __init__(
        self, hr: ShardedImages, settings: DegradedSet, *, scale: int, limit: int | None
    ) -> None:
        """Choose the images.

        Args:
            hr: the HR images.
            settings: the degradation.
            scale: how many times smaller LR is.
            limit: at most this many images, spread evenly over ``hr``; None for all.
        """
        self.scale = scale
        self._hr = hr
        self._settings = settings
        self._degradation = as_degradation(settings)
        count = min(limit or len(hr), len(hr))
        self._indices = np.linspace(0, len(hr) - 1, count).round().astype(int).tolist()

    def __len__(self) -> int:
        return len(self._indices)

    def batches(
        self, size: int, part: range | None = None
    ) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        """HR and LR images in order, at most ``size`` of each at a time.

        Args:
            size: images per batch, at most.
            part: the images' numbers, in steps of 1; None for all.
        """
        part = range(len(self)) if part is None else part
        for start in range(part.start, part.stop, size):
            indices = self._indices[start : min(start + size, part.stop)]
            names = [self._hr.names[index] for index in indices]
            hr = np.stack([self._hr[index] for index in indices])
            lr = np.stack(
                [
                    apply_degradation(
                        self._degradation,
                        image,
                        self.scale,
                        random_of(image, self._settings.noise_seed),
                    )
                    for image in hr
                ]
            )
            yield ImageBatch(names, hr), ImageBatch(names, lr)

    def describe(self) -> dict[str, Any]:
        """The set's entry in ``protocol.degraded_sets`` of ``evaluation.json``."""
        return {
            "degradation": in_words(self._settings),
            "images": f"{len(self)} of {len(self._hr)}"
            + (", spread evenly" if len(self) < len(self._hr) else ""),
            **self._settings.model_dump(),
        }


def as_degradation(settings: DegradedSet) -> Degradation:
    """The steps of a degraded set."""
    return Degradation(
        blur=None if settings.blur_sigma is None else "isotropic",
        blur_sigma=settings.blur_sigma,
        shrink="bicubic" if settings.mosaic_cell is None else "mosaic",
        mosaic_cell=settings.mosaic_cell,
        noise=None if settings.noise_sigma is None else "gaussian",
        noise_strength=settings.noise_sigma,
        jpeg_quality=settings.jpeg_quality,
        jpeg_color="420",
    )


def in_words(settings: DegradedSet) -> str:
    """A degradation in words and numbers, such as ``bicubic; JPEG quality 50, 4:2:0``."""
    steps = []
    if settings.blur_sigma is not None:
        steps.append(f"Gaussian blur, sigma {settings.blur_sigma:g} HR pixels")
    if settings.mosaic_cell is None:
        steps.append("bicubic")
    else:
        steps.append(f"mosaic of {settings.mosaic_cell}x{settings.mosaic_cell} LR pixels")
    if settings.noise_sigma is not None:
        steps.append(f"Gaussian noise, sigma {settings.noise_sigma:g} of 255")
    if settings.jpeg_quality is not None:
        steps.append(f"JPEG quality {settings.jpeg_quality}, 4:2:0")
    return "; ".join(steps)
