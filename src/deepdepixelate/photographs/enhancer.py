"""Enlarging one photograph: the whole, or with its faces enlarged separately."""

import timeit
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.photographs import MEGAPIXELS
from deepdepixelate.photographs.faces import (
    Box,
    FaceFinder,
    cut,
    enlarge_face,
    face_region,
    is_small,
    put_back,
    size_for_generator,
)
from deepdepixelate.photographs.photograph import Photograph, read_photograph


class Enhancer(Enlarger):
    """Enlarges photographs with one generator: ``Enhancer("srgan").enlarge("face.png")``.

    The arguments are those of ``Enlarger``.

    Attributes:
        small_faces: enlarges small faces, see ``enlarge_face``; None: this enhancer does.
    """

    small_faces: "Enhancer | None" = None

    def enlarge(
        self,
        photograph: Photograph | str | Path,
        on_tile: Callable[[], object] = lambda: None,
        *,
        faces: bool | Sequence[Box] = False,
    ) -> Image.Image:
        """Enlarge a photograph; the result is gray or transparent like the photograph.

        Args:
            photograph: a file, of any format that Pillow reads, or what ``read_photograph`` gave.
            on_tile: called after each tile.
            faces: True to find the faces, and to enlarge separately those that become better; see
                ``enlarge_face``. Or the faces, as ``FaceFinder`` finds them.

        Raises:
            UnreadableImageError: the file is not an image, damaged, too small or too large.
            UserError: the output has NaN or infinite values, or dlib is needed and missing.
        """
        finder = FaceFinder() if faces is True else None
        boxes = [] if isinstance(faces, bool) else faces
        if not isinstance(photograph, Photograph):
            photograph = read_photograph(Path(photograph), max_pixels=int(MEGAPIXELS * 1e6))
        if finder is not None:
            boxes = finder.find(photograph.pixels)
        enlarged = self(photograph.pixels, on_tile)
        for region in self._regions(photograph, boxes):
            face = enlarge_face(photograph, region, self.for_face(region), on_tile)
            put_back(enlarged, face, region, self.scale)
        return photograph.finish(Image.fromarray(enlarged))

    def enlarge_region(
        self, photograph: Photograph, region: Box, on_tile: Callable[[], object] = lambda: None
    ) -> Image.Image:
        """Enlarge a face with its margin only; see ``enlarge_face`` and ``face_region``."""
        face = Image.fromarray(enlarge_face(photograph, region, self.for_face(region), on_tile))
        return cut(photograph, region).finish(face)

    def count_tiles(self, photograph: Photograph, faces: Sequence[Box] = ()) -> int:
        """How many times ``enlarge`` calls ``on_tile``."""
        height, width, _ = photograph.pixels.shape
        sizes = [(width, height)]
        sizes += [self.face_size(each) for each in self._regions(photograph, faces)]
        return sum(len(self.tiles(high, wide)) for wide, high in sizes)

    def for_face(self, region: Box) -> "Enhancer":
        """The enhancer that enlarges the region of a face."""
        small = self.small_faces
        return self if small is None or not is_small(region, small) else small

    def face_size(self, region: Box) -> tuple[int, int]:
        """Width and height at which the region of a face is given to its generator."""
        return size_for_generator(region, self.for_face(region))

    def seconds_for(self, sizes: Iterable[tuple[int, int]]) -> float:
        """Estimate the time for photographs of these widths and heights, by timing a small one."""
        side = 128 if self.compute.device.type == "cpu" else 512
        pixels = np.zeros((side, side, 3), np.uint8)
        self(pixels)  # the first call takes longer
        seconds = min(timeit.repeat(lambda: self(pixels), number=1, repeat=2))
        return seconds * sum(self._work(*size) for size in sizes) / self._work(side, side)

    def _work(self, width: int, height: int) -> int:
        """Number of pixels in all tiles of a photograph, including their margins."""
        margin = self._overlap
        return sum(
            (min(bottom + margin, height) - max(top - margin, 0))
            * (min(right + margin, width) - max(left - margin, 0))
            for top, left, bottom, right in self.tiles(height, width)
        )

    def _regions(self, photograph: Photograph, faces: Sequence[Box]) -> list[Box]:
        """The regions of the faces that are not enlarged like the whole photograph."""
        height, width, _ = photograph.pixels.shape
        regions = [face_region(face, width, height) for face in faces]
        return [each for each in regions if is_small(each, self.for_face(each))]
