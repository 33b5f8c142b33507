"""The work on one photograph after another, in this process or in those of an engine."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from deepdepixelate.errors import UserError
from deepdepixelate.photographs import UnreadableImageError
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.faces import Box, FaceFinder, cut, face_region
from deepdepixelate.photographs.photograph import (
    FileFormat,
    Photograph,
    read_photograph,
    save_enlarged,
)

_NO_MEMORY = "there is not enough memory for it: use smaller tiles, or a smaller photograph"


@dataclass(frozen=True)
class Job:
    """A photograph, the file of its enlargement and the end of the file's name."""

    path: Path
    place: Path
    ending: str
    enhancer: Enhancer

    def face_place(self, number: int) -> Path:
        """The file of a face."""
        name = self.place.name.removesuffix(self.ending)
        return self.place.with_name(f"{name}-face-{number}{self.ending}")


@dataclass(frozen=True)
class News:
    """What became of a photograph, or of a part of it.

    Attributes:
        path: of the photograph.
        said: a line for the user.
        warnings: notes for the user.
        written: a file that was written.
        kept: a file was already there, and is kept.
        failure: why the photograph could not be enlarged.
        finished: nothing follows about this photograph.
    """

    path: Path
    said: str | None = None
    warnings: tuple[str, ...] = ()
    written: Path | None = None
    kept: bool = False
    failure: str | None = None
    finished: bool = False


@dataclass(frozen=True)
class Work:
    """How photographs are enlarged; can be pickled.

    Attributes:
        jobs: the photographs.
        form: of the enlargements.
        max_pixels: larger photographs are refused.
        overwrite: replace existing files.
        finder: finds the faces that are to be enlarged separately, if any are.
        face_files: write each face to a file of its own, and not the whole photograph.
    """

    jobs: Sequence[Job]
    form: FileFormat
    max_pixels: int
    overwrite: bool
    finder: FaceFinder | None
    face_files: bool

    def __call__(self, part: range, threads: int | None) -> Iterator[News]:
        """Do the jobs with these numbers; the news come while the work goes on."""
        written: set[Path] = set()
        for number in part:
            job = self.jobs[number]
            failure = None
            try:
                yield from self._enlarge(job, written)
            except (UnreadableImageError, UserError) as error:
                failure = str(error).removesuffix(".")
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = _NO_MEMORY
            yield News(job.path, failure=failure, finished=True)

    def _enlarge(self, job: Job, written: set[Path]) -> Iterator[News]:
        original = read_photograph(job.path, max_pixels=self.max_pixels)
        yield News(job.path, warnings=original.notes)
        faces = [] if self.finder is None else self.finder.find(original.pixels)
        if self.finder is not None:
            found = _faces_found(len(faces), self.face_files)
            small = _small_faces(job.enhancer, original, faces)
            yield News(job.path, said=f"{job.path.name}: {found}{small}.")
        for result in _results(job, original, faces, self.face_files):
            if result.place in written:
                raise UserError(f"{result.place} is already a face of another photograph.")
            if not self.overwrite and os.path.lexists(result.place):
                yield News(job.path, kept=True)
                continue
            warnings = result.save(self.form)
            written.add(result.place)
            yield News(job.path, warnings=warnings, written=result.place)


@dataclass(frozen=True)
class _Result:
    """A file to write: a photograph, or a face cut out of it."""

    place: Path
    original: Photograph
    scale: int
    tiles: int
    enlarge: Callable[[Callable[[], object]], Image.Image]

    def save(self, form: FileFormat) -> tuple[str, ...]:
        """Enlarge and write it; return notes for the user."""
        height, width, _ = self.original.pixels.shape
        form.check_size(self.scale * width, self.scale * height)
        with tqdm(
            total=self.tiles, desc=self.place.name, unit="tile", leave=False, disable=self.tiles < 2
        ) as bar:
            enlarged = self.enlarge(bar.update)
        return save_enlarged(self.original, enlarged, self.place, form)


def _results(
    job: Job, original: Photograph, faces: Sequence[Box], face_files: bool
) -> Iterator[_Result]:
    """The files to write for a photograph, in order."""
    enhancer = job.enhancer
    if not faces or not face_files:
        tiles = enhancer.count_tiles(original, faces)
        enlarge = partial(enhancer.enlarge, original, faces=faces)
        yield _Result(job.place, original, enhancer.scale, tiles, enlarge)
        return
    height, width, _ = original.pixels.shape
    for number, face in enumerate(faces, 1):
        region = face_region(face, width, height)
        wide, high = enhancer.face_size(region)
        yield _Result(
            job.face_place(number),
            cut(original, region),
            enhancer.scale,
            len(enhancer.tiles(high, wide)),
            partial(enhancer.enlarge_region, original, region),
        )


def _faces_found(number: int, face_files: bool) -> str:
    if number == 0:
        return "no face found" + ("; the whole photograph is enlarged" if face_files else "")
    return "1 face found" if number == 1 else f"{number} faces found"


def _small_faces(enhancer: Enhancer, original: Photograph, faces: Sequence[Box]) -> str:
    """Say that the generator photo enlarges some of the faces, if it does."""
    height, width, _ = original.pixels.shape
    regions = [face_region(face, width, height) for face in faces]
    number = sum(enhancer.for_face(each) is not enhancer for each in regions)
    return f"; the generator photo enlarges the small ones ({number})" if number else ""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception means that the memory, of any device, is too small."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error)  # PyTorch has no type for this on a CPU
    return "allocate memory" in message or "not enough memory" in message
