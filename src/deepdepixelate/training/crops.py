"""Random crops, drawn from (seed, update) alone.

A counter and not a stream: update 1,000 sees the same crops whether or not updates 0 to 999 were
run before it in this process, so that a resumed run continues exactly.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError
from deepdepixelate.training.pixels import MappedPixels, Pixels, Places, ResidentPixels
from deepdepixelate.training.ranks import ALONE, Ranks


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
        resident: bool = False,
    ) -> None:
        """Check that the crops fit, and load the images to the device where they shall reside.

        Args:
            pairs: the images.
            crop_size: see the class.
            batch_size: see the class.
            seed: with the update, decides the crops.
            device: where the crops are wanted.
            ranks: the processes that share each batch.
            resident: keep all images in the device's memory and cut there.

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
        source = ResidentPixels if resident else MappedPixels
        self._hr: Pixels = source(pairs.hr, device)
        self._lr: Pixels = source(pairs.lr, device)
        self._share = ranks.slice_of(batch_size)

    def choose(self, update: int) -> Places:
        """All ranks' crops of an update, in LR pixels: decided by seed, update and batch size."""
        # The update is the upper part of Philox's counter: streams of updates never overlap.
        generator = np.random.Generator(
            np.random.Philox(key=self._seed, counter=np.array([0, update, 0, 0], dtype=np.uint64))
        )
        height, width, _ = self._pairs.lr.manifest.shape
        lr_size = self.crop_size // self._pairs.scale
        return Places(
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
        all_places = self.choose(update)
        scale = self._pairs.scale
        lr_places = all_places.part(self._share)
        hr_places = replace(lr_places, tops=lr_places.tops * scale, lefts=lr_places.lefts * scale)
        return (
            self._lr.cut(lr_places, self.crop_size // scale),
            self._hr.cut(hr_places, self.crop_size),
        )
