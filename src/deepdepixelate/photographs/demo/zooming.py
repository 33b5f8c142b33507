"""The work behind the page: read a photograph, find its faces, and enlarge a part of it."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

from PIL import Image

from deepdepixelate.errors import UserError
from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import AUTO, MEGAPIXELS
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.faces import Box, FaceFinder, cut, face_region, is_small
from deepdepixelate.photographs.photograph import (
    FileFormat,
    Photograph,
    read_photograph,
    save_enlarged,
)
from deepdepixelate.photographs.planning import (
    FOR_SMALL_FACES,
    compression_note,
    generator_for,
    read_header,
)

PLAIN = {"pixels": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}
"""Ways of enlarging without a generator."""

_FORM = FileFormat("png", metadata=False)
"""Format of the results, without metadata: it could reveal where the photograph was taken."""

AT_ONCE = 250_000
"""Pixels up to which a part is enlarged without a click, if there is nothing else to choose."""

_SHOWN = 2048
"""Greatest longer side of a result on the page, in pixels; the file has all of them."""

_LONGEST_NAME = 100
"""Bytes of a photograph's name that are kept in the names of its results."""

_KEPT_SECONDS = 3600
"""Results are deleted after this time."""


@dataclass(frozen=True)
class Part:
    """A part of a photograph.

    Attributes:
        box: the part; for a face, with its margin.
        face: number of the face, from 1; None for any other part.
    """

    box: Box
    face: int | None = None

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.box.width * self.box.height


@dataclass(frozen=True)
class Enlargement:
    """Files of an enlarged part.

    Attributes:
        file: PNG in full size.
        shown: the same, or a smaller picture for the page.
    """

    file: Path
    shown: Path


@dataclass(eq=False)
class Opened:
    """A photograph on the page.

    Attributes:
        name: of its file, without the suffix, shortened if long.
        photograph: the whole photograph.
        model: the generator that suits the file.
        notes: what was converted, and a warning if it is compressed.
        faces: that were found; empty before ``Zoomer.find``.
        results: the enlargements so far, by part, kind and scale.
    """

    name: str
    photograph: Photograph
    model: str
    notes: tuple[str, ...]
    faces: list[Box] = field(default_factory=list)
    results: dict[tuple[Part, str, int], Enlargement] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photograph."""
        height, width, _ = self.photograph.pixels.shape
        return width, height

    @property
    def whole(self) -> Part:
        """The whole picture."""
        return Part(Box(0, 0, *self.size))

    def face(self, index: int) -> Part:
        """One of the faces."""
        return Part(face_region(self.faces[index], *self.size), index + 1)

    @property
    def at_once(self) -> Part | None:
        """What is enlarged without a click, if small: the only face, or a picture without any."""
        part = self.face(0) if self.faces else self.whole
        return None if len(self.faces) > 1 or part.pixels > AT_ONCE else part


class Zoomer:
    """Enlarges parts of photographs with one of several generators.

    Attributes:
        models: the generators.
        max_pixels: size limit of the part that is enlarged.
    """

    def __init__(
        self, folder: Path, models: Sequence[str], *, device: str, tile: int, max_pixels: int
    ) -> None:
        """Load the generators and the face detector.

        Args:
            folder: for the results, which are deleted after an hour.
            models: names or files of the generators; see ``find_generator`` for errors.
            device: auto, cpu, cuda, cuda:1, mps.
            tile: side of the tiles in LR pixels.
            max_pixels: size limit of the part that is enlarged.
        """
        self.models = tuple(models)
        self.max_pixels = max_pixels
        self._folder = folder
        self._enhancers = {model: Enhancer(model, device=device, tile=tile) for model in models}
        self._finder: FaceFinder | None = None
        with suppress(UserError):
            self._finder = FaceFinder()

    @property
    def finds_faces(self) -> bool:
        """Whether dlib, which finds faces, is installed."""
        return self._finder is not None

    def open(self, path: Path) -> Opened:
        """Read a photograph.

        Raises:
            UnreadableImageError: see ``read_photograph``.
        """
        photograph = read_photograph(path, max_pixels=int(MEGAPIXELS * 1e6))
        notes, header = photograph.notes, read_header(path)
        model: str = generator_for(header)
        if model not in self.models:
            model = self.models[0]
            if header is not None and (warning := compression_note(header.jpeg_quality)):
                notes = (*notes, f"it {warning}")
        name = os.fsencode(path.stem)[:_LONGEST_NAME].decode(errors="ignore")
        return Opened(name, photograph, model, notes)

    def find(self, opened: Opened) -> None:
        """Find the faces of a photograph, if dlib is installed."""
        if self._finder is not None:
            opened.faces = self._finder.find(opened.photograph.pixels)

    def scale(self, model: str) -> int:
        """How many times a generator enlarges."""
        return self._enhancers[model].scale

    def choose(self, opened: Opened, part: Part) -> str:
        """The generator that suits a part: one for small faces, or that which suits the file."""
        small = self._enhancers.get(FOR_SMALL_FACES)
        if small is None or part.face is None or not is_small(part.box, small):
            return opened.model
        return FOR_SMALL_FACES

    def enlarge(
        self,
        opened: Opened,
        part: Part,
        kind: str,
        scale: int,
        progress: Callable[[int, int], object] = lambda done, steps: None,
    ) -> Enlargement:
        """Enlarge a part of a photograph, unless it has been done.

        Args:
            opened: the photograph.
            part: of at most ``max_pixels``.
            kind: one of the generators, or of ``PLAIN``; or auto, see ``choose``. In a whole
                picture, auto enlarges small faces with the generator for them.
            scale: how many times, for ``PLAIN``; a generator has its own. ``PLAIN`` is for the page
                alone: its file may be smaller.
            progress: called before each step, with the number of finished steps and of all steps.
                An exception from it ends the work.
        """
        model = self.choose(opened, part) if kind == AUTO else kind
        enhancer = self._enhancers.get(model)
        if enhancer is not None:
            scale = enhancer.scale
            if kind == AUTO:
                enhancer = copy(enhancer)
                enhancer.small_faces = self._enhancers.get(FOR_SMALL_FACES)
        known = opened.results.get((part, kind, scale))
        if known is not None and known.file.exists():
            return known
        original = cut(opened.photograph, part.box)
        size = scale * part.box.width, scale * part.box.height
        if enhancer is None:
            shrink = min(1.0, _SHOWN / max(size))
            size = max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))
            resized = Image.fromarray(original.pixels).resize(size, PLAIN[kind])
            enlarged = original.finish(resized)
        else:
            enlarged = _enlarged(opened, part, enhancer, progress)
        folder = self._new_folder()
        face = "" if part.face is None else f"face-{part.face}-"
        path = folder / f"{opened.name}-{face}{label_of(model)}-{scale}x.png"
        save_enlarged(original, enlarged, path, _FORM)
        result = Enlargement(path, path)
        if max(enlarged.size) > _SHOWN:
            result = Enlargement(path, folder / "shown.webp")
            enlarged.thumbnail((_SHOWN, _SHOWN))
            save_enlarged(original, enlarged, result.shown, FileFormat("webp", metadata=False))
        opened.results[part, kind, scale] = result
        return result

    def _new_folder(self) -> Path:
        """Make a folder for one result, and delete old ones."""
        for old in self._folder.iterdir():
            if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        return Path(mkdtemp(dir=self._folder))


def _enlarged(
    opened: Opened, part: Part, enhancer: Enhancer, progress: Callable[[int, int], object]
) -> Image.Image:
    """Enlarge a part with a generator; in the whole picture, small faces separately."""
    original = cut(opened.photograph, part.box)
    faces = opened.faces if part == opened.whole else []
    steps, done = enhancer.count_tiles(original, faces), count()

    def step() -> None:
        finished = next(done)
        progress(finished, max(steps, finished))

    step()
    if part.face is not None:
        return enhancer.enlarge_region(opened.photograph, part.box, step)
    return enhancer.enlarge(original, step, faces=faces)
