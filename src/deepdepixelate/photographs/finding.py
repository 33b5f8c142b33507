"""Finding photographs in files and folders, naming their enlargements, and summing up."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from deepdepixelate.errors import UserError
from deepdepixelate.photographs.reading import SUFFIXES


@dataclass(frozen=True)
class Source:
    """A photograph to enlarge.

    Attributes:
        path: of its file.
        folder: of its enlargement, relative to the output folder.
    """

    path: Path
    folder: Path = Path()


@dataclass(frozen=True)
class Failure:
    """A photograph that could not be enlarged, or a folder that could not be read."""

    path: Path
    reason: str


@dataclass
class Found:
    """The photographs found, and what became of them.

    Attributes:
        photographs: each once.
        written: paths of the enlargements, in order.
        failures: folders that could not be read, and photographs that could not be enlarged.
        skipped: other files and folders, counted by kind.
        already_there: number of enlargements that exist and are kept.
        done: number of photographs without a failure.
    """

    photographs: list[Source] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    already_there: int = 0
    done: int = 0


def find_photographs(inputs: Sequence[Path], output: Path) -> Found:
    """Find photographs: the given files, and the images in the given folders and below them.

    Args:
        inputs: files and folders.
        output: folder for the enlargements, which is not searched.

    Raises:
        UserError: one of the inputs is missing, or a folder holds no images.
    """
    found = Found()
    for path in inputs:
        if os.path.isdir(path):  # noqa: PTH112 - Path's own raises if a name is too long
            inside = Found()
            _walk(path, os.path.realpath(output), inside)
            if not inside.photographs and not inside.failures:
                skipped = f" (skipped: {counted(inside.skipped)})" if inside.skipped else ""
                raise UserError(f"there are no images in {path}{skipped}.")
            found.photographs += inside.photographs
            found.failures += inside.failures
            found.skipped += inside.skipped
        elif os.path.lexists(path):
            found.photographs.append(Source(path))
        else:
            raise UserError(f"there is no photograph {path}.")
    once: dict[str, Source] = {}
    for source in found.photographs:
        once.setdefault(os.path.abspath(source.path), source)  # noqa: PTH100 - keeps links apart
    found.photographs = list(once.values())
    return found


def name_outputs(sources: Sequence[Source], output: Path, endings: Sequence[str]) -> list[Path]:
    """The path of each enlargement: ``face.jpg`` becomes ``face<ending>``.

    If several would get the same name, ignoring case, they become ``face.jpg<ending>`` and
    ``face.png<ending>``, and, if these are taken, ``face.jpg-2<ending>`` and so on.
    """
    places = [
        output / source.folder / f"{source.path.stem}{ending}"
        for source, ending in zip(sources, endings, strict=True)
    ]
    counts = Counter(map(_key, places))
    taken = {place for place, number in counts.items() if number == 1}
    named = []
    for source, place, ending in zip(sources, places, endings, strict=True):
        if counts[_key(place)] > 1:
            names = _whole_names(source.path.name, ending)
            place = next(free for name in names if _key(free := place.with_name(name)) not in taken)
            taken.add(_key(place))
        named.append(place)
    return named


def counted(skipped: Counter[str]) -> str:
    """Counts as text: ``3 .txt, 1 hidden``."""
    return ", ".join(f"{number} {kind}" for kind, number in sorted(skipped.items()))


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
    total = found.done + len(lines)
    summary = [f"{len(lines)} of {total} photographs could not be enlarged:", *lines, *skipped]
    raise UserError("\n".join(summary))


def _walk(top: Path, output: str, found: Found) -> None:
    def refuse(error: OSError) -> None:
        reason = f"cannot be read: {error.strerror or error}"
        found.failures.append(Failure(Path(error.filename or top), reason))

    for directory, folders, files in os.walk(top, onerror=refuse):
        here = Path(directory)
        entered = []
        for name in sorted(folders):
            if kind := _why_not_entered(here / name, output):
                found.skipped[kind] += 1
            else:
                entered.append(name)
        folders[:] = entered
        for name in sorted(files):
            path = here / name
            if name.startswith("."):
                found.skipped["hidden"] += 1
            elif path.suffix.lower() in SUFFIXES:
                found.photographs.append(Source(path, here.relative_to(top)))
            else:
                found.skipped[path.suffix.lower() or "without a suffix"] += 1


def _why_not_entered(folder: Path, output: str) -> str | None:
    if folder.name.startswith("."):
        return "hidden"
    if folder.is_symlink():  # it may lead back to a parent
        return "linked folder"
    return "output folder" if os.path.realpath(folder) == output else None


def _key(place: Path) -> str:
    """A key that is equal for paths that are equal on some file system."""
    return unicodedata.normalize("NFC", str(place)).casefold()


def _whole_names(name: str, ending: str) -> Iterator[str]:
    yield f"{name}{ending}"
    yield from (f"{name}-{number}{ending}" for number in count(2))
