"""Which photographs are asked for, and what their enlargements are called."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from deepdepixelate.errors import UserError
from deepdepixelate.photographs.decoding import SUFFIXES


@dataclass(frozen=True)
class Asked:
    """A photograph to enlarge.

    Attributes:
        path: of its file.
        folder: below the output folder, where its enlargement goes.
    """

    path: Path
    folder: Path = Path()


@dataclass(frozen=True)
class Failure:
    """A photograph that could not be enlarged, or a folder that could not be read, and why."""

    path: Path
    reason: str


@dataclass
class Found:
    """What is asked for.

    Attributes:
        photographs: to enlarge, each once.
        failures: folders that cannot be read.
        skipped: what else is in the folders, counted by kind.
    """

    photographs: list[Asked] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def find_photographs(inputs: Sequence[Path], output: Path) -> Found:
    """The files named, and the images of the folders named and of those below them.

    Args:
        inputs: files and folders.
        output: where enlargements go; where that is below a folder named, it is left out.

    Raises:
        UserError: one is not there, or a folder holds no images.
    """
    found = Found()
    for path in inputs:
        if os.path.isdir(path):  # noqa: PTH112 - Path's own raises where a name is too long
            inside = Found()
            _walk(path, os.path.realpath(output), inside)
            if not inside.photographs and not inside.failures:
                raise UserError(f"there are no images in {path}{_in_brackets(inside.skipped)}.")
            found.photographs += inside.photographs
            found.failures += inside.failures
            found.skipped += inside.skipped
        elif os.path.lexists(path):
            found.photographs.append(Asked(path))
        else:
            raise UserError(f"there is no photograph {path}.")
    once: dict[str, Asked] = {}
    for asked in found.photographs:
        once.setdefault(os.path.abspath(asked.path), asked)  # noqa: PTH100 - a link is another one
    found.photographs = list(once.values())
    return found


def name_outputs(asked: Sequence[Asked], output: Path, ending: str) -> list[Path]:
    """Where each enlargement goes: ``face.jpg`` to ``face<ending>``.

    Several that would have one name, also where upper and lower case are the same, are called
    ``face.jpg<ending>`` and ``face.png<ending>``, and after those ``face.jpg-2<ending>``.

    Args:
        asked: photographs.
        output: folder.
        ending: of the names.
    """
    places = [output / each.folder / f"{each.path.stem}{ending}" for each in asked]
    counts = Counter(map(_same, places))
    taken = {place for place, number in counts.items() if number == 1}
    named = []
    for each, place in zip(asked, places, strict=True):
        if counts[_same(place)] > 1:
            names = _whole_names(each.path.name, ending)
            place = next(
                free for name in names if _same(free := place.with_name(name)) not in taken
            )
            taken.add(_same(place))
        named.append(place)
    return named


def counted(skipped: Counter[str]) -> str:
    """``3 .txt, 1 hidden``."""
    return ", ".join(f"{number} {kind}" for kind, number in sorted(skipped.items()))


def _in_brackets(skipped: Counter[str]) -> str:
    return f" (skipped: {counted(skipped)})" if skipped else ""


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
                found.photographs.append(Asked(path, here.relative_to(top)))
            else:
                found.skipped[path.suffix.lower() or "without a suffix"] += 1


def _why_not_entered(folder: Path, output: str) -> str | None:
    if folder.name.startswith("."):
        return "hidden"
    if folder.is_symlink():  # it may lead round in a circle
        return "linked folder"
    return "output folder" if os.path.realpath(folder) == output else None


def _same(place: Path) -> str:
    """Equal for two paths that some file system takes for one."""
    return unicodedata.normalize("NFC", str(place)).casefold()


def _whole_names(name: str, ending: str) -> Iterator[str]:
    yield f"{name}{ending}"
    yield from (f"{name}-{number}{ending}" for number in count(2))
