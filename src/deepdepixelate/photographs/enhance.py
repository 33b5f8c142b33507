"""Enlarging photographs, file by file."""

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from tqdm import tqdm

from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder
from deepdepixelate.models.pretrained import label_of
from deepdepixelate.parallel import LOCAL, Engine
from deepdepixelate.photographs import AUTO, Faces, FormatName
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.faces import FaceFinder
from deepdepixelate.photographs.finding import (
    Failure,
    Found,
    conclude,
    find_photographs,
    name_outputs,
)
from deepdepixelate.photographs.photograph import FileFormat
from deepdepixelate.photographs.planning import (
    FOR_SMALL_FACES,
    Header,
    announcements,
    generator_for,
    read_header,
)
from deepdepixelate.photographs.work import Job, News, Work

logger = logging.getLogger(__name__)


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
    engine: Engine = LOCAL,
) -> list[Path]:
    """Enlarge photographs: what the command and the pipeline ``enhance`` do.

    Args:
        inputs: files, and folders, which are searched with their subfolders.
        output: folder for the enlargements, created if missing.
        model: auto, or a generator from the package, or a file of a generator's weights; auto is
            photo for files with lossy compression and for small faces, and srgan for the rest.
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
        engine: where to enlarge; other machines need the files at the same paths.

    Returns:
        The paths of the enlargements.

    Raises:
        UserError: there is nothing to enlarge, faces are wanted and dlib is missing, or some
            photographs could not be enlarged; then all others have been.
    """
    if engine is not LOCAL:  # a task may run in another working directory
        inputs, output = [path.absolute() for path in inputs], output.absolute()
    finder = None if faces == "ignore" else FaceFinder()
    found = find_photographs(inputs, output)

    @cache
    def load(name: str) -> Enhancer:
        return Enhancer(
            name, device=device, precision=precision, tile=tile, self_ensemble=self_ensemble
        )

    def choose(header: Header | None) -> tuple[str, Enhancer]:
        name = generator_for(header) if model == AUTO else model
        enhancer = load(name)
        if model == AUTO and finder is not None:
            enhancer.small_faces = load(FOR_SMALL_FACES)
        return label_of(name), enhancer

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
        engine=engine,
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
    engine: Engine = LOCAL,
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
        engine: where to enlarge; other machines need the files at the same paths.

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
            jobs.append(Job(source.path, place, ending, enhancer))
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
    work = Work(jobs, form, max_pixels, overwrite, finder, face_files)
    with tqdm(total=len(jobs), desc="enhance", unit="photograph") as progress:
        for news in engine.map_ranges(work, len(jobs), 1):
            _record(news, found)
            progress.set_postfix_str(news.path.name)
            progress.update(news.finished)


def _record(news: News, found: Found) -> None:
    """Tell the user, and add to the results."""
    if news.said:
        tqdm.write(news.said, file=sys.stderr)
    for note in news.warnings:
        logger.warning("%s: %s.", news.path, note)
    found.already_there += news.kept
    if news.written:
        found.written.append(news.written)
        tqdm.write(printable(news.written))
    if news.failure:
        found.failures.append(Failure(news.path, news.failure))
    elif news.finished:
        found.done += 1


def printable(path: Path) -> str:
    """A path for the terminal, with ``?`` for characters that it cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return str(path).encode(encoding, "replace").decode(encoding)


def _without_number(path: Path) -> Path:
    """The path of a photograph's enlargement, given that of one of its faces."""
    return path.with_name(re.sub(r"-face-\d+(?!.*-face-\d)", "", path.name))


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
