"""From photographs to enlarged photographs, file by file."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from deepdepixelate.enhancing.enhancer import Enhancer
from deepdepixelate.enhancing.photographs import Photograph, read_photograph
from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write
from deepdepixelate.imaging.photographs import UnreadableImageError, image_files

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A photograph that could not be enlarged, and why."""

    photograph: Path
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of the photographs."""

    written: list[Path]
    failures: list[Failure]


def find_photographs(inputs: Sequence[Path]) -> list[Path]:
    """The files named, and the images of the folders named.

    Raises:
        UserError: one is not there, or a folder holds no images.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = image_files(path)
            if not inside:
                raise UserError(f"there are no images in {path}.")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"there is no photograph {path}.")
    return list(dict.fromkeys(found))


def enhance_files(
    photographs: Sequence[Path],
    output: Path,
    enhancer: Enhancer,
    *,
    label: str,
    max_pixels: int,
    overwrite: bool = False,
) -> Outcome:
    """Enlarge photographs to PNG files; one that fails is named, and the rest are done.

    Args:
        photographs: files.
        output: folder, made if missing. ``face.jpg`` becomes ``face-<label>-4x.png``.
        enhancer: the generator.
        label: goes into the names.
        max_pixels: larger photographs are refused.
        overwrite: replace what is there under such a name.

    Raises:
        UserError: the folder cannot be written to.
    """
    _check_writable(output)
    outcome = Outcome([], [])
    with tqdm(total=len(photographs), desc="enhance", unit="photograph") as progress:
        for photograph in photographs:
            place = output / f"{photograph.stem}-{label}-{enhancer.scale}x.png"
            progress.set_postfix_str(photograph.name)
            try:
                if place in outcome.written:
                    raise _RefusedError(f"{place} was just written for another photograph")
                if place.exists() and not overwrite:
                    raise _RefusedError(f"{place} is there already and was not overwritten")
                _enhance_file(photograph, place, enhancer, max_pixels)
                outcome.written.append(place)
            except (UnreadableImageError, _RefusedError) as error:
                outcome.failures.append(Failure(photograph, str(error)))
            progress.update()
    return outcome


def save_enlarged(original: Photograph, enlarged: Image.Image, path: Path) -> None:
    """Write an enlargement as PNG, in the colour profile of the photograph that it is of."""
    with atomic_write(path) as file:
        enlarged.save(file, "PNG", icc_profile=original.icc_profile)


def told(outcome: Outcome) -> str:
    """The failures, for a person."""
    done = len(outcome.written)
    lines = [f"  - {failure.photograph}: {failure.reason}" for failure in outcome.failures]
    return "\n".join(
        [f"{len(lines)} of {done + len(lines)} photographs could not be enlarged:", *lines]
    )


class _RefusedError(Exception):
    """Not done so as not to lose what is there."""


def _enhance_file(photograph: Path, place: Path, enhancer: Enhancer, max_pixels: int) -> None:
    original = read_photograph(photograph, max_pixels=max_pixels)
    for note in original.notes:
        logger.warning("%s: %s.", photograph, note)
    count = len(enhancer.tiles(*original.pixels.shape[:2]))
    with tqdm(
        total=count, desc=photograph.name, unit="tile", leave=False, disable=count < 2
    ) as bar:
        enlarged = enhancer.enlarge(original, bar.update)
    save_enlarged(original, enlarged, place)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise UserError(
            f"the output folder {folder} cannot be made ({error.strerror or error})."
        ) from error
    if not writable:
        raise UserError(f"the output folder {folder} cannot be written to.")
