"""The work behind the page: read a photograph, and enlarge a part of it."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

from PIL import Image

from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import MEGAPIXELS
from deepdepixelate.photographs.demo.crop_box import Box
from deepdepixelate.photographs.enhance import Enhancer
from deepdepixelate.photographs.photograph import (
    FileFormat,
    Photograph,
    read_photograph,
    save_enlarged,
)

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
    """

    name: str
    photograph: Photograph


@dataclass(frozen=True)
class Zoomed:
    """A part of a photograph, enlarged.

    Attributes:
        before: file with the part enlarged by bicubic interpolation, as large as ``after``.
        after: file with the part enlarged by the generator, to download.
        note: sizes and time, in one line.
    """

    before: Path
    after: Path
    note: str


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
        photograph = read_photograph(path, max_pixels=int(MEGAPIXELS * 1e6))
        name = os.fsencode(path.stem)[:_LONGEST_NAME].decode(errors="ignore")
        return Opened(name, photograph)

    def zoom(
        self,
        opened: Opened,
        box: Box,
        model: str,
        progress: Callable[[int, int], object] = lambda done, tiles: None,
    ) -> Zoomed:
        """Enlarge a part of a photograph.

        Args:
            opened: the photograph.
            box: the part, inside the photograph, of at most ``max_pixels``.
            model: one of those loaded.
            progress: called with the number of finished tiles and that of all tiles.
        """
        begin = time.monotonic()
        part = cut(opened.photograph, box)
        enhancer = self._enhancers[model]
        tiles = len(enhancer.tiles(box.height, box.width))
        done = count(1)
        enlarged = enhancer.enlarge(part, lambda: progress(next(done), tiles))
        seconds = time.monotonic() - begin
        plain = Image.fromarray(part.pixels).resize(enlarged.size, Image.Resampling.BICUBIC)
        folder = self._new_folder()
        after = folder / f"{opened.name}-{label_of(model)}-{enhancer.scale}x.png"
        before = folder / f"{opened.name}-bicubic-{enhancer.scale}x.png"
        save_enlarged(part, enlarged, after, _FORM)
        save_enlarged(part, part.finish(plain), before, _FORM)
        width, height = enlarged.size
        note = f"{box.width}x{box.height} pixels became {width}x{height} in {seconds:.1f} s."
        return Zoomed(before, after, note)

    def _new_folder(self) -> Path:
        """Make a folder for one result, and delete old ones."""
        for old in self._folder.iterdir():
            if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        return Path(mkdtemp(dir=self._folder))


def cut(photograph: Photograph, box: Box) -> Photograph:
    """Cut a part out of a photograph, with its alpha and everything else."""
    left, top, width, height = box
    right, bottom = left + width, top + height
    alpha = photograph.alpha
    return replace(
        photograph,
        pixels=photograph.pixels[top:bottom, left:right],
        alpha=None if alpha is None else alpha.crop((left, top, right, bottom)),
    )
