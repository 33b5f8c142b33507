"""Random crops that depend only on seed and update.

They come from a counter, not a stream: update 1,000 gets the same crops whether or not this process
ran updates 0 to 999. So a resumed training sees exactly the crops of an uninterrupted one.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.errors import UserError
from deepdepixelate.training.distributed import ALONE, Ranks

_DEVICE_SHARE = 0.5
"""Share of a GPU's free memory that images may take; the rest is for networks and activations."""

_IMAGES_PER_COPY = 512


@dataclass(frozen=True)
class CropPositions:
    """Where to cut, one entry per crop; in pixels of the images that are cut."""

    images: NDArray[np.int64]
    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    flips: NDArray[np.bool_]


class MappedCropSource:
    """Cuts crops on the CPU, from memory maps of the shards, and copies them to the device."""

    def __init__(self, images: ShardedImages, device: torch.device) -> None:
        self._images = images
        self._device = device

    def cut(self, positions: CropPositions, height: int, width: int) -> Tensor:
        """uint8 crops (N, 3, height, width), channels last, on the device."""
        crops = np.empty((len(positions.images), height, width, 3), dtype=np.uint8)
        for row, index in enumerate(positions.images):
            top, left = positions.tops[row], positions.lefts[row]
            crop = self._images[int(index)][top : top + height, left : left + width]
            crops[row] = crop[:, ::-1] if positions.flips[row] else crop
        tensor = torch.from_numpy(crops)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True).permute(0, 3, 1, 2)


class ResidentCropSource:
    """Holds all images in the device's memory and cuts there; only positions are copied."""

    def __init__(self, images: ShardedImages, device: torch.device) -> None:
        self._device = device
        shape = (len(images), *images.manifest.shape)
        self._pixels = torch.empty(shape, dtype=torch.uint8, device=device)
        done = 0
        for batch in images.batches(_IMAGES_PER_COPY):
            count = len(batch.names)
            self._pixels[done : done + count].copy_(torch.from_numpy(batch.pixels))
            done += count

    def cut(self, positions: CropPositions, height: int, width: int) -> Tensor:
        """uint8 crops (N, 3, height, width), channels last, on the device."""
        places = (positions.images, positions.tops, positions.lefts, positions.flips)
        indices = torch.from_numpy(np.stack(places).astype(np.int64))
        if self._device.type == "cuda":
            indices = indices.pin_memory()  # otherwise the copy waits for the device
        image, top, left, flip = indices.to(self._device, non_blocking=True)[..., None, None]
        rows, columns = (torch.arange(size, device=self._device) for size in (height, width))
        columns = torch.where(flip.bool(), columns.flip(0), columns)
        return self._pixels[image, top + rows[:, None], left + columns].permute(0, 3, 1, 2)


CropSource = MappedCropSource | ResidentCropSource


class CropSampler:
    """Draws batches of aligned, randomly mirrored LR and HR crops.

    Attributes:
        batch_size: crops in a batch, over all ranks.
        crop_size: side of the HR crops in pixels, None for whole images; LR crops are ``scale``
            times smaller.
    """

    def __init__(
        self,
        pairs: ImagePairs,
        *,
        crop_size: int | None,
        batch_size: int,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
        resident: bool = False,
    ) -> None:
        """Check that the crops fit and, if ``resident``, copy the images to the device.

        Args:
            pairs: the images.
            crop_size: see the class.
            batch_size: see the class.
            seed: decides the crops, together with the update.
            device: where the crops are needed.
            ranks: the processes that share each batch.
            resident: keep all images in the device's memory.

        Raises:
            UserError: the crop size is no multiple of the scale or larger than the images, or the
                batch size is no multiple of the number of ranks.
        """
        if batch_size % ranks.count:
            raise UserError(
                f"batch_size must be a multiple of the {ranks.count} processes that share it, not "
                f"{batch_size} (see training.devices and training.hosts)."
            )
        height, width, _ = pairs.hr.manifest.shape
        if crop_size is not None and (crop_size % pairs.scale or crop_size > min(height, width)):
            raise UserError(
                f"crop_size must be a multiple of the scale ({pairs.scale}) and at most "
                f"{min(height, width)}, the smaller side of the images; it is {crop_size}."
            )
        self.batch_size = batch_size
        self.crop_size = crop_size
        self._pairs = pairs
        self._sides = (height, width) if crop_size is None else (crop_size, crop_size)
        self._seed = seed
        source = ResidentCropSource if resident else MappedCropSource
        self._hr: CropSource = source(pairs.hr, device)
        self._lr: CropSource = source(pairs.lr, device)
        self._share = ranks.slice_of(batch_size)

    def positions(self, update: int) -> CropPositions:
        """The crops of all ranks in an update, in LR pixels."""
        # The update is the upper part of Philox's counter: streams of updates never overlap.
        generator = np.random.Generator(
            np.random.Philox(key=self._seed, counter=np.array([0, update, 0, 0], dtype=np.uint64))
        )
        height, width, _ = self._pairs.lr.manifest.shape
        lr_height, lr_width = (side // self._pairs.scale for side in self._sides)
        return CropPositions(
            images=generator.integers(0, len(self._pairs), self.batch_size),
            tops=generator.integers(0, height - lr_height + 1, self.batch_size),
            lefts=generator.integers(0, width - lr_width + 1, self.batch_size),
            flips=generator.random(self.batch_size) < 0.5,
        )

    def batch(self, update: int) -> tuple[Tensor, Tensor]:
        """This rank's LR and HR crops of an update, on its device.

        Returns:
            uint8, channels last: (N, 3, side / scale, side / scale) and (N, 3, side, side).
        """
        everyone, share, scale = self.positions(update), self._share, self._pairs.scale
        lr = CropPositions(
            everyone.images[share],
            everyone.tops[share],
            everyone.lefts[share],
            everyone.flips[share],
        )
        hr = replace(lr, tops=lr.tops * scale, lefts=lr.lefts * scale)
        height, width = self._sides
        return self._lr.cut(lr, height // scale, width // scale), self._hr.cut(hr, height, width)


def fits_on_device(pairs: ImagePairs, device: torch.device) -> bool:
    """Whether a GPU's memory holds all images and leaves room for the training."""
    if device.type != "cuda":
        return False
    size = sum(len(pairs) * int(np.prod(each.manifest.shape)) for each in (pairs.hr, pairs.lr))
    free, _ = torch.cuda.mem_get_info(device)
    return size <= _DEVICE_SHARE * free
