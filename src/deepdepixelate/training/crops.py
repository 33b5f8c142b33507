"""Random crops, drawn from (seed, update) alone.

A counter and not a stream: update 1,000 sees the same crops whether or not updates 0 to 999 were
run before it in this process, so that a resumed run continues exactly.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdepixelate.errors import UserError
from deepdepixelate.imaging.shards import ImagePairs
from deepdepixelate.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class CropChoice:
    """Which crops make a batch, one entry each; positions in LR pixels."""

    images: NDArray[np.int64]
    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    flips: NDArray[np.bool_]


class CropSampler:
    """Draws batches of aligned, randomly mirrored LR and HR crops.

    Attributes:
        batch_size: crops in a batch, over all ranks.
        crop_size: side of the HR crops in pixels; that of the LR crops is ``scale`` times smaller.
    """

    def __init__(
        self,
        pairs: ImagePairs,
        *,
        crop_size: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        """Check that the crops fit.

        Raises:
            UserError: the crop is no multiple of the scale or larger than the images, or the batch
                cannot be shared evenly by the ranks.
        """
        if batch_size % ranks.count:
            raise UserError(
                f"batch_size must be a multiple of the {ranks.count} processes that share it, not "
                f"{batch_size} (see training.devices and training.hosts)."
            )
        height, width, _ = pairs.hr.manifest.shape
        if crop_size % pairs.scale or crop_size > min(height, width):
            raise UserError(
                f"crop_size must be a multiple of the scale ({pairs.scale}) and at most "
                f"{min(height, width)}, the smaller side of the images; it is {crop_size}."
            )
        self.batch_size = batch_size
        self.crop_size = crop_size
        self._pairs = pairs
        self._seed = seed
        self._device = device
        self._share = ranks.slice_of(batch_size)

    def choose(self, update: int) -> CropChoice:
        """The crops of an update: the same for the same seed, update, data and batch size."""
        # The update is the upper part of Philox's counter: streams of updates never overlap.
        generator = np.random.Generator(
            np.random.Philox(key=self._seed, counter=np.array([0, update, 0, 0], dtype=np.uint64))
        )
        height, width, _ = self._pairs.lr.manifest.shape
        lr_size = self.crop_size // self._pairs.scale
        return CropChoice(
            images=generator.integers(0, len(self._pairs), self.batch_size),
            tops=generator.integers(0, height - lr_size + 1, self.batch_size),
            lefts=generator.integers(0, width - lr_size + 1, self.batch_size),
            flips=generator.random(self.batch_size) < 0.5,
        )

    def batch(self, update: int) -> tuple[Tensor, Tensor]:
        """This rank's LR and HR crops of an update, on its device.

        Returns:
            uint8, channels last: (N, 3, side / scale, side / scale) and (N, 3, side, side).
        """
        choice = self.choose(update)
        scale = self._pairs.scale
        lr_size = self.crop_size // scale
        rows = range(self.batch_size)[self._share]
        lr = np.empty((len(rows), lr_size, lr_size, 3), dtype=np.uint8)
        hr = np.empty((len(rows), self.crop_size, self.crop_size, 3), dtype=np.uint8)
        for row, chosen in enumerate(rows):
            image, flip = int(choice.images[chosen]), bool(choice.flips[chosen])
            top, left = int(choice.tops[chosen]), int(choice.lefts[chosen])
            lr[row] = _crop(self._pairs.lr[image], top, left, lr_size, flip)
            hr[row] = _crop(self._pairs.hr[image], top * scale, left * scale, self.crop_size, flip)
        return self._to_device(lr), self._to_device(hr)

    def _to_device(self, images: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2)


def _crop(
    image: NDArray[np.uint8], top: int, left: int, size: int, flip: bool
) -> NDArray[np.uint8]:
    crop = image[top : top + size, left : left + size]
    return crop[:, ::-1] if flip else crop
