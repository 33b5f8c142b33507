"""Enlarging photographs, file by file."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder
from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import AUTO, Faces, FormatName, UnreadableImageError
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.faces import FaceFinder, cut, face_region, size_for_generator
from deepdepixelate.photographs.finding import (
    Failure,
    Found,
    conclude,
    find_photographs,
    name_outputs,
)
from deepdepixelate.photographs.photograph import (
    FileFormat,
    Photograph,
    read_photograph,
    save_enlarged,
)
from deepdepixelate.photographs.planning import Header, announcements, generator_for, read_header

logger = logging.getLogger(__name__)

_NO_MEMORY = "there is not enough memory for it: use smaller tiles, or a smaller photograph"


def enhance(
    inputs: Sequence[Path],
    output: Path,
    *,
    model: str,
    faces: Faces,
    format: FormatName,  # noqa: A002 - the name of the option
    quality: int,
    strip_metadata: bool,
    overwrite: bool,
    max_pixels: int,
    tile: int,
    device: str,
    precision: str,
    self_ensemble: bool,
) -> list[Path]:
    """Enlarge photographs: what the command and the pipeline ``enhance`` do.

    Args:
        inputs: files, and folders, which are searched with their subfolders.
        output: folder for the enlargements, created if missing.
        model: auto, or a generator from the package, or a file of a generator's weights; auto is
            photo for files with lossy compression, and srgan for others.
        faces: put_back enlarges small faces separately and puts them back, see ``enlarge_face``;
            files writes each face to a file, instead of the whole photograph; ignore does neither.
        format: see ``FileFormat``.
        quality: see ``FileFormat``.
        strip_metadata: do not write EXIF and resolution.
        overwrite: replace existing results; otherwise, they are kept, and the photograph skipped.
        max_pixels: larger photographs are refused.
        tile: see ``Enlarger``, also for the following.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: bf16, fp32 or auto.
        self_ensemble: average the results of each photograph and its mirror image.

    Returns:
        The paths of the enlargements.

    Raises:
        UserError: there is nothing to enlarge, faces are wanted and dlib is missing, or some
            photographs could not be enlarged; then all others have been.
    """
    finder = None if faces == "ignore" else FaceFinder()
    found = find_photographs(inputs, output)

    @cache
    def load(name: str) -> Enhancer:
        return Enhancer(
            name, device=device, precision=precision, tile=tile, self_ensemble=self_ensemble
        )

    def choose(header: Header | None) -> tuple[str, Enhancer]:
        name = generator_for(header) if model == AUTO else model
        return label_of(name), load(name)

    enhance_files(
        found,
        output,
        choose,
        model=model,
        form=FileFormat(format, quality, metadata=not strip_metadata),
        max_pixels=max_pixels,
        overwrite=overwrite,
        finder=finder,
        face_files=faces == "files",
    )
    if message := conclude(found):
        logger.warning(message)
    return found.written


def enhance_files(
    found: Found,
    output: Path,
    choose: Callable[[Header | None], tuple[str, Enhancer]],
    *,
    model: str,
    form: FileFormat,
    max_pixels: int,
    overwrite: bool = False,
    finder: FaceFinder | None = None,
    face_files: bool = False,
) -> None:
    """Enlarge the photographs found, and record in ``found`` what became of them.

    ``group.jpg`` becomes ``group-<label>-4x.png``, and its faces ``group-face-1-<label>-4x.png``
    and so on. What exists is kept, unless ``overwrite`` is set. If a photograph fails, the others
    are still enlarged. The path of each file is printed as soon as it is written.

    Args:
        found: the photographs.
        output: folder for the enlargements.
        choose: gives the label and the enhancer for the header of a photograph, which is None if
            it cannot be read.
        model: what the user has chosen, for the messages.
        form: of the enlargements.
        max_pixels: larger photographs are refused.
        overwrite: replace existing files.
        finder: finds the faces that are to be enlarged separately, if any are.
        face_files: write each face to a file of its own, and not the whole photograph.

    Raises:
        UserError: the output folder cannot be written to, or see ``choose``.
    """
    headers = [read_header(source.path) for source in found.photographs]
    chosen = [choose(header) for header in headers]
    _check_writable(output)
    endings = [f"-{label}-{enhancer.scale}x{form.suffix}" for label, enhancer in chosen]
    places = name_outputs(found.photographs, output, endings)
    enlargements = set(map(os.path.realpath, places))
    jobs, planned = [], []
    for source, header, place, ending, (_, enhancer) in zip(
        found.photographs, headers, places, endings, chosen, strict=True
    ):
        made_from = {source.path, _without_number(source.path)}
        if not enlargements.isdisjoint(map(os.path.realpath, made_from)):
            found.skipped["enlarged before"] += 1
        elif not (overwrite or face_files) and os.path.lexists(place):
            found.already_there += 1
        else:
            jobs.append(_Job(source.path, place, ending, enhancer))
            if header is not None and header.width * header.height <= max_pixels:
                planned.append(header)
    if not jobs:
        return
    any_enhancer = jobs[0].enhancer
    for message in announcements(
        planned,
        any_enhancer.scale,
        "CPU" if any_enhancer.compute.device.type == "cpu" else "GPU",
        any_enhancer.seconds_for,
        model=model,
        form=form.name,
        whole=not face_files,
    ):
        tqdm.write(message, file=sys.stderr)
    written: set[Path] = set()
    with tqdm(jobs, desc="enhance", unit="photograph") as progress:
        for job in progress:
            progress.set_postfix_str(job.path.name)
            try:
                original = read_photograph(job.path, max_pixels=max_pixels)
                _warn(job.path, original.notes)
                for result in _results(job, original, finder, face_files):
                    if result.place in written:
                        raise UserError(f"{result.place} is already a face of another photograph.")
                    if not overwrite and os.path.lexists(result.place):
                        found.already_there += 1
                        continue
                    _warn(job.path, result.save(form))
                    written.add(result.place)
                    found.written.append(result.place)
                    tqdm.write(printable(result.place))
            except (UnreadableImageError, UserError) as error:
                found.failures.append(Failure(job.path, str(error).removesuffix(".")))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                found.failures.append(Failure(job.path, _NO_MEMORY))
            else:
                found.done += 1


def printable(path: Path) -> str:
    """A path for the terminal, with ``?`` for characters that it cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return str(path).encode(encoding, "replace").decode(encoding)


@dataclass(frozen=True)
class _Job:
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
    job: _Job, original: Photograph, finder: FaceFinder | None, face_files: bool
) -> Iterator[_Result]:
    """The files to write for a photograph, in order."""
    faces = [] if finder is None else finder.find(original.pixels)
    if finder is not None:
        tqdm.write(f"{job.path.name}: {_faces_found(len(faces), face_files)}.", file=sys.stderr)
    enhancer = job.enhancer
    if not faces or not face_files:
        tiles = enhancer.count_tiles(original, faces)
        enlarge = partial(enhancer.enlarge, original, faces=faces)
        yield _Result(job.place, original, enhancer.scale, tiles, enlarge)
        return
    height, width, _ = original.pixels.shape
    for number, face in enumerate(faces, 1):
        region = face_region(face, width, height)
        wide, high = size_for_generator(region, enhancer)
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


def _without_number(path: Path) -> Path:
    """The path of a photograph's enlargement, given that of one of its faces."""
    return path.with_name(re.sub(r"-face-\d+(?!.*-face-\d)", "", path.name))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception means that the memory, of any device, is too small."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error)  # PyTorch has no type for this on a CPU
    return "allocate memory" in message or "not enough memory" in message


def _warn(photograph: Path, notes: Iterable[str]) -> None:
    for note in notes:
        logger.warning("%s: %s.", photograph, note)


def _check_writable(folder: Path) -> None:
    try:
        make_folder(folder)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise UserError(
            f"the output folder {folder} cannot be created ({error.strerror or error}): "
            "choose another."
        ) from error
    if not writable:
        raise UserError(f"the output folder {folder} cannot be written to: choose another.")
