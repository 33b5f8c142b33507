"""Cutting an image into overlapping tiles that can be enlarged one by one, without seams."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tile:
    """A part of an image, in its pixels: what it contributes, and what must be looked at for that.

    Attributes:
        top: first row that it contributes.
        left: first column that it contributes.
        bottom: the row after its last.
        right: the column after its last.
        overlap: rows and columns of its neighbours that are looked at too, up to the image's edge.
    """

    top: int
    left: int
    bottom: int
    right: int
    overlap: int

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of an image (H, W, C) that is looked at, a view."""
        return image[
            max(0, self.top - self.overlap) : self.bottom + self.overlap,
            max(0, self.left - self.overlap) : self.right + self.overlap,
        ]

    def trim(self, enlarged: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
        """Of what ``cut`` gave, enlarged, the part that the tile contributes, a view."""
        top = scale * min(self.top, self.overlap)
        left = scale * min(self.left, self.overlap)
        height, width = scale * (self.bottom - self.top), scale * (self.right - self.left)
        return enlarged[top : top + height, left : left + width]


def tiles(height: int, width: int, *, size: int, overlap: int) -> Iterator[Tile]:
    """Tiles that cover an image without gaps, row by row, each at most ``size`` square.

    Where the overlap is at least the reach of what enlarges them, each pixel sees all that it would
    see in the whole image, and tiles joined are the whole image enlarged at once.
    """
    for top in range(0, height, size):
        for left in range(0, width, size):
            bottom, right = min(top + size, height), min(left + size, width)
            yield Tile(top, left, bottom, right, overlap)
