"""The work behind the page: read a photograph, and enlarge a part of it."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from PIL import Image

from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import MEGAPIXELS
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.faces import Box, cut
from deepdepixelate.photographs.photograph import (
    FileFormat,
    Photograph,
    read_photograph,
    save_enlarged,
)
from deepdepixelate.photographs.planning import compression_note, read_headers

PLAIN = {"pixels": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}
"""Ways of enlarging without a generator."""

_FORM = FileFormat("png", metadata=False)
"""Format of the results, without metadata: it could reveal where the photograph was taken."""

_LONGEST_NAME = 100
"""Bytes of a photograph's name that are kept in the names of its results."""

_KEPT_SECONDS = 3600
"""Results are deleted after this time."""


@dataclass(frozen=True)
class Opened:
    """A photograph on the page.

    Attributes:
        name: of its file, without the suffix, shortened if long.
        photograph: the whole photograph.
        notes: what was converted, and a warning if it is compressed.
    """

    name: str
    photograph: Photograph
    notes: tuple[str, ...]


@dataclass
class Part:
    """A part of a photograph, and its enlargements.

    Attributes:
        opened: the whole photograph.
        box: the part.
        files: the enlargements so far, by their kind and scale.
    """

    opened: Opened
    box: Box
    files: dict[tuple[str, int], Path] = field(default_factory=dict)


class Zoomer:
    """Enlarges parts of photographs with one of several generators."""

    def __init__(
        self, folder: Path, models: Sequence[str], *, device: str, tile: int, max_pixels: int
    ) -> None:
        """Load the generators.

        Args:
            folder: for the results, which are deleted after an hour.
            models: names or files of the generators; see ``find_generator`` for errors.
            device: auto, cpu, cuda, cuda:1, mps.
            tile: side of the tiles in LR pixels.
            max_pixels: size limit of the part that is enlarged.
        """
        self.max_pixels = max_pixels
        self._folder = folder
        self._enhancers = {model: Enhancer(model, device=device, tile=tile) for model in models}

    def open(self, path: Path) -> Opened:
        """Read a photograph.

        Raises:
            UnreadableImageError: see ``read_photograph``.
        """
        limit = int(MEGAPIXELS * 1e6)
        photograph = read_photograph(path, max_pixels=limit)
        compressed = [compression_note(each.jpeg_quality) for each in read_headers([path], limit)]
        notes = [f"it {note}" for note in compressed if note]
        name = os.fsencode(path.stem)[:_LONGEST_NAME].decode(errors="ignore")
        return Opened(name, photograph, (*photograph.notes, *notes))

    def scale(self, model: str) -> int:
        """How many times a generator enlarges."""
        return self._enhancers[model].scale

    def enlarge(
        self,
        part: Part,
        kind: str,
        scale: int,
        progress: Callable[[int, int], object] = lambda done, tiles: None,
    ) -> Path:
        """Enlarge a part of a photograph, unless it has been done; return the file.

        Args:
            part: of at most ``max_pixels``.
            kind: one of the generators, or of ``PLAIN``.
            scale: how many times, for ``PLAIN``; a generator has its own.
            progress: called before each tile, with the number of finished tiles and of all tiles.
                An exception from it ends the work.
        """
        enhancer = self._enhancers.get(kind)
        if enhancer is not None:
            scale = enhancer.scale
        known = part.files.get((kind, scale))
        if known is not None and known.exists():
            return known
        original = cut(part.opened.photograph, part.box)
        if enhancer is None:
            size = (scale * part.box.width, scale * part.box.height)
            enlarged = original.finish(Image.fromarray(original.pixels).resize(size, PLAIN[kind]))
        else:
            total = len(enhancer.tiles(part.box.height, part.box.width))
            numbers = iter(range(total + 1))
            progress(next(numbers), total)
            enlarged = enhancer.enlarge(original, lambda: progress(next(numbers), total))
        path = self._new_folder() / f"{part.opened.name}-{label_of(kind)}-{scale}x.png"
        save_enlarged(original, enlarged, path, _FORM)
        part.files[kind, scale] = path
        return path

    def _new_folder(self) -> Path:
        """Make a folder for one result, and delete old ones."""
        for old in self._folder.iterdir():
            if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        return Path(mkdtemp(dir=self._folder))
