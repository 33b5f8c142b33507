"""Enlarging photographs, file by file."""

import logging
import os
import sys
import timeit
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder
from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import MEGAPIXELS, FormatName, UnreadableImageError
from deepdepixelate.photographs.finding import (
    Failure,
    Found,
    counted,
    find_photographs,
    name_outputs,
)
from deepdepixelate.photographs.photograph import (
    FileFormat,
    Photograph,
    read_photograph,
    save_enlarged,
)
from deepdepixelate.photographs.planning import announcements, read_headers

logger = logging.getLogger(__name__)

_NO_MEMORY = "there is not enough memory for it: use smaller tiles, or a smaller photograph"


class Enhancer(Enlarger):
    """Enlarges photographs with one generator: ``Enhancer("srgan").enlarge("face.jpg")``.

    The arguments are those of ``Enlarger``.
    """

    def enlarge(
        self, photograph: Photograph | str | Path, on_tile: Callable[[], object] = lambda: None
    ) -> Image.Image:
        """Enlarge a photograph; the result is gray or transparent like the photograph.

        Args:
            photograph: a file, of any format that Pillow reads, or what ``read_photograph`` gave.
            on_tile: called after each tile.

        Raises:
            UnreadableImageError: the file is not an image, damaged, too small or too large.
            UserError: the output has NaN or infinite values.
        """
        if not isinstance(photograph, Photograph):
            photograph = read_photograph(Path(photograph), max_pixels=int(MEGAPIXELS * 1e6))
        return photograph.finish(Image.fromarray(self(photograph.pixels, on_tile)))

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


def enhance(
    inputs: Sequence[Path],
    output: Path,
    *,
    model: str,
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
        model: srgan or srresnet, from the package, or a file of a generator's weights.
        format: see ``FileFormat``.
        quality: see ``FileFormat``.
        strip_metadata: do not write EXIF and resolution.
        overwrite: replace existing results; otherwise, their photographs are skipped.
        max_pixels: larger photographs are refused.
        tile: see ``Enlarger``, also for the following.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: bf16, fp32 or auto.
        self_ensemble: average the results of each photograph and its mirror image.

    Returns:
        The paths of the enlargements.

    Raises:
        UserError: there is nothing to enlarge, or some photographs could not be enlarged; then all
            others have been.
    """
    found = find_photographs(inputs, output)
    enhancer = Enhancer(
        model,
        device=device,
        precision=precision,
        tile=tile,
        self_ensemble=self_ensemble,
    )
    enhance_files(
        found,
        output,
        enhancer,
        label=label_of(model),
        max_pixels=max_pixels,
        form=FileFormat(format, quality, metadata=not strip_metadata),
        overwrite=overwrite,
    )
    if message := conclude(found):
        logger.warning(message)
    return found.written


def enhance_files(
    found: Found,
    output: Path,
    enhancer: Enhancer,
    *,
    label: str,
    max_pixels: int,
    form: FileFormat,
    overwrite: bool = False,
) -> None:
    """Enlarge the photographs found, and record in ``found`` what became of them.

    ``face.jpg`` becomes ``face-<label>-4x.png``. A photograph whose enlargement exists is skipped,
    unless ``overwrite`` is set. If one fails, the others are still enlarged. The path of each
    enlargement is printed as soon as it is written.

    Raises:
        UserError: the output folder cannot be written to.
    """
    _check_writable(output)
    ending = f"-{label}-{enhancer.scale}x{form.suffix}"
    places = name_outputs(found.photographs, output, ending)
    enlargements = set(map(os.path.realpath, places))
    jobs = []
    for source, place in zip(found.photographs, places, strict=True):
        if os.path.realpath(source.path) in enlargements:
            found.skipped["enlarged before"] += 1
        elif not overwrite and os.path.lexists(place):
            found.already_there += 1
        else:
            jobs.append((source.path, place))
    if not jobs:
        return
    headers = read_headers((path for path, _ in jobs), max_pixels)
    device = "CPU" if enhancer.compute.device.type == "cpu" else "GPU"
    for message in announcements(headers, enhancer.scale, device, enhancer.seconds_for):
        tqdm.write(message, file=sys.stderr)
    with tqdm(jobs, desc="enhance", unit="photograph") as progress:
        for path, place in progress:
            progress.set_postfix_str(path.name)
            try:
                _enhance_file(path, place, enhancer, max_pixels, form)
            except (UnreadableImageError, UserError) as error:
                found.failures.append(Failure(path, str(error).removesuffix(".")))
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                found.failures.append(Failure(path, _NO_MEMORY))
            else:
                found.written.append(place)
                tqdm.write(printable(place))


def conclude(found: Found) -> str:
    """The closing message: what was skipped; empty if nothing was.

    Raises:
        UserError: something failed; the message lists all failures, and what was skipped.
    """
    skipped = []
    if found.already_there:
        skipped.append(f"{found.already_there} already there, skipped (--overwrite replaces them).")
    if found.skipped:
        skipped.append(f"Skipped in folders: {counted(found.skipped)}.")
    if not found.failures:
        return "\n".join(skipped)
    lines = [f"  - {failure.path}: {failure.reason}" for failure in found.failures]
    total = len(found.written) + len(lines)
    summary = [f"{len(lines)} of {total} photographs could not be enlarged:", *lines, *skipped]
    raise UserError("\n".join(summary))


def printable(path: Path) -> str:
    """A path for the terminal, with ``?`` for characters that it cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return str(path).encode(encoding, "replace").decode(encoding)


def _enhance_file(
    path: Path, place: Path, enhancer: Enhancer, max_pixels: int, form: FileFormat
) -> None:
    original = read_photograph(path, max_pixels=max_pixels)
    _warn(path, original.notes)
    tiles = len(enhancer.tiles(*original.pixels.shape[:2]))
    with tqdm(total=tiles, desc=path.name, unit="tile", leave=False, disable=tiles < 2) as bar:
        enlarged = enhancer.enlarge(original, bar.update)
    _warn(path, save_enlarged(original, enlarged, place, form))


def _is_out_of_memory(error: Exception) -> bool:
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
            f"the output folder {folder} cannot be created ({error.strerror or error})."
        ) from error
    if not writable:
        raise UserError(f"the output folder {folder} cannot be written to.")
