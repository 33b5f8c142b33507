"""From photographs to enlarged photographs, file by file."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder
from deepdepixelate.photographs.decoding import UnreadableImageError
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.finding import Failure, Found, counted, name_outputs
from deepdepixelate.photographs.photograph import read_photograph
from deepdepixelate.photographs.saving import FileFormat, save_enlarged

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What became of what was asked for.

    Attributes:
        written: enlargements, in order.
        failures: what could not be enlarged.
        skipped: what else was in the folders, counted by kind.
    """

    written: list[Path] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def enhance_files(
    found: Found,
    output: Path,
    enhancer: Enhancer,
    *,
    label: str,
    max_pixels: int,
    form: FileFormat,
    overwrite: bool = False,
) -> Outcome:
    """Enlarge photographs; one that fails is named, and the rest are done.

    Prints the path of each enlargement as soon as it is written, so that it is known whatever
    happens to the rest.

    Args:
        found: what is asked for.
        output: folder, made if missing. ``face.jpg`` becomes ``face-<label>-4x.png``.
        enhancer: the generator.
        label: goes into the names.
        max_pixels: larger photographs are refused.
        form: of the files.
        overwrite: replace what is there under such a name.

    Raises:
        UserError: the folder cannot be written to.
    """
    _check_writable(output)
    ending = f"-{label}-{enhancer.scale}x{form.suffix}"
    places = name_outputs(found.photographs, output, ending)
    outcome = Outcome(failures=list(found.failures), skipped=Counter(found.skipped))
    enlargements = set(map(os.path.realpath, places))
    with tqdm(total=len(places), desc="enhance", unit="photograph") as progress:
        for asked, place in zip(found.photographs, places, strict=True):
            progress.set_postfix_str(asked.path.name)
            if os.path.realpath(asked.path) in enlargements:
                outcome.skipped["enlarged before"] += 1
            elif reason := _enhance_file(
                asked.path, place, enhancer, max_pixels=max_pixels, form=form, overwrite=overwrite
            ):
                outcome.failures.append(Failure(asked.path, reason))
            else:
                outcome.written.append(place)
                tqdm.write(printable(place))
            progress.update()
    return outcome


def conclude(outcome: Outcome) -> str:
    """The closing message: what was skipped, if anything was.

    Raises:
        UserError: something failed; the message names all of it, and what was skipped.
    """
    skipped = f"Skipped in folders: {counted(outcome.skipped)}." if outcome.skipped else ""
    if not outcome.failures:
        return skipped
    lines = [f"  - {failure.path}: {failure.reason}" for failure in outcome.failures]
    whole = len(outcome.written) + len(lines)
    told = [f"{len(lines)} of {whole} photographs could not be enlarged:", *lines, skipped]
    raise UserError("\n".join(filter(None, told)))


def printable(path: Path) -> str:
    """A path for the terminal, where that cannot show all of its characters either."""
    encoding = sys.stdout.encoding or "utf-8"
    return str(path).encode(encoding, "replace").decode(encoding)


def _enhance_file(
    photograph: Path,
    place: Path,
    enhancer: Enhancer,
    *,
    max_pixels: int,
    form: FileFormat,
    overwrite: bool,
) -> str | None:
    """Enlarge one photograph; why it could not be, if so."""
    try:
        if _is_there(place) and not overwrite:
            return f"{place} is there already and was not overwritten"
        original = read_photograph(photograph, max_pixels=max_pixels)
        _warn(photograph, original.notes)
        count = len(enhancer.tiles(*original.pixels.shape[:2]))
        with tqdm(
            total=count, desc=photograph.name, unit="tile", leave=False, disable=count < 2
        ) as bar:
            enlarged = enhancer.enlarge(original, bar.update)
        _warn(photograph, save_enlarged(original, enlarged, place, form))
    except (UnreadableImageError, UserError) as error:
        return str(error).removesuffix(".")
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return "there is not enough memory for it: take smaller tiles, or a smaller photograph"
    return None


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "allocate memory" in str(error) or "not enough memory" in str(
        error
    )  # PyTorch's, of CPUs


def _warn(photograph: Path, notes: Iterable[str]) -> None:
    for note in notes:
        logger.warning("%s: %s.", photograph, note)


def _is_there(place: Path) -> bool:
    try:
        place.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:  # such as a name that is too long
        raise UserError(f"{place} cannot be written: {error.strerror or error}.") from error
    return True


def _check_writable(folder: Path) -> None:
    try:
        make_folder(folder)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise UserError(
            f"the output folder {folder} cannot be made ({error.strerror or error})."
        ) from error
    if not writable:
        raise UserError(f"the output folder {folder} cannot be written to.")
