"""Where crops are cut from: memory maps of the shards, or the memory of the device."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdepixelate.data.shards import ImagePairs, ShardedImages

DEVICE_SHARE = 0.5
"""Of a GPU's free memory, what the images may take: the rest is for networks and activations."""

_IMAGES_PER_COPY = 512


@dataclass(frozen=True)
class Places:
    """Which crops to cut, one entry each; positions in pixels of the images they are cut from."""

    images: NDArray[np.int64]
    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    flips: NDArray[np.bool_]

    def part(self, rows: slice) -> "Places":
        """Some of them."""
        return Places(self.images[rows], self.tops[rows], self.lefts[rows], self.flips[rows])


class Pixels(Protocol):
    """Cuts crops."""

    def cut(self, places: Places, size: int) -> Tensor:
        """Square crops, mirrored where asked.

        Returns:
            uint8 (N, 3, size, size), channels last, on the device.
        """


class MappedPixels:
    """Cuts crops on the CPU, from memory maps, and copies them to the device."""

    def __init__(self, images: ShardedImages, device: torch.device) -> None:
        self._images = images
        self._device = device

    def cut(self, places: Places, size: int) -> Tensor:
        """See ``Pixels``; a page or two is read for each crop, and nothing decoded."""
        crops = np.empty((len(places.images), size, size, 3), dtype=np.uint8)
        for row, index in enumerate(places.images):
            top, left = places.tops[row], places.lefts[row]
            crop = self._images[int(index)][top : top + size, left : left + size]
            crops[row] = crop[:, ::-1] if places.flips[row] else crop
        tensor = torch.from_numpy(crops)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True).permute(0, 3, 1, 2)


class ResidentPixels:
    """Holds all images in the device's memory, and cuts there: only positions are copied."""

    def __init__(self, images: ShardedImages, device: torch.device) -> None:
        self._device = device
        shape = (len(images), *images.manifest.shape)
        self._pixels = torch.empty(shape, dtype=torch.uint8, device=device)
        done = 0
        for batch in images.batches(_IMAGES_PER_COPY):
            count = len(batch.names)
            self._pixels[done : done + count].copy_(torch.from_numpy(batch.pixels))
            done += count

    def cut(self, places: Places, size: int) -> Tensor:
        """See ``Pixels``; one small copy and one gather."""
        each = (places.images, places.tops, places.lefts, places.flips)
        positions = torch.from_numpy(np.stack(each).astype(np.int64))
        if self._device.type == "cuda":
            positions = positions.pin_memory()  # otherwise the copy waits for the device
        image, top, left, flip = positions.to(self._device, non_blocking=True)[..., None, None]
        offsets = torch.arange(size, device=self._device)
        across = torch.where(flip.bool(), offsets.flip(0), offsets)
        return self._pixels[image, top + offsets[:, None], left + across].permute(0, 3, 1, 2)


def fits_on_device(pairs: ImagePairs, device: torch.device) -> bool:
    """Whether all images go into a GPU's memory with room for the training beside them."""
    if device.type != "cuda":
        return False
    size = sum(len(pairs) * int(np.prod(each.manifest.shape)) for each in (pairs.hr, pairs.lr))
    free, _ = torch.cuda.mem_get_info(device)
    return size <= DEVICE_SHARE * free
