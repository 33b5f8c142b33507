"""The files of a folder, local or at a URL."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upath import UPath

from deepdepixelate.data.sources.names import is_hidden, printable, unsafe
from deepdepixelate.data.sources.places import exists, retrying, stamp_in
from deepdepixelate.errors import UserError
from deepdepixelate.limits import SOURCE_IMAGES
from deepdepixelate.locations import Location


@dataclass
class Listing:
    """What a folder, archive or table holds.

    Attributes:
        names: of the images.
        left_out: name and reason of each file that is ignored, except hidden ones.
        stamps: of remote files by name; asking for each one later would take long.
    """

    names: list[str] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    stamps: dict[str, str] = field(default_factory=dict)

    def leave_out(self, name: str, reason: str) -> None:
        """Note a file that is ignored."""
        self.left_out.append({"name": printable(name), "reason": reason})

    def check_count(self, place: object) -> None:
        """Raise UserError if there are more files than SOURCE_IMAGES."""
        if len(self.names) + len(self.left_out) > SOURCE_IMAGES:
            raise UserError(
                f"{place} has more than {SOURCE_IMAGES:,} files, which is the limit: use a part."
            )


def list_files(folder: Location, *, subfolders: bool, links: bool = False) -> Listing:
    """List the regular files of a folder that are not hidden, relative to it and sorted.

    Links to files inside the folder count as files. Links that leave it, broken links, links to
    folders, and anything that is not a regular file are left out.

    Args:
        folder: local or remote.
        subfolders: whether to list the files of sub-folders, too.
        links: whether to follow links to files outside the folder.

    Raises:
        UserError: the folder cannot be read, or holds too many files.
    """
    listing = Listing()
    if isinstance(folder, Path):
        _list_local(folder, listing, subfolders=subfolders, links=links)
    else:
        _list_remote(folder, listing, subfolders=subfolders)
    listing.names.sort()
    return listing


def _list_local(root: Path, listing: Listing, *, subfolders: bool, links: bool) -> None:
    allowed = Path("/") if links else Path(os.path.realpath(root))
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            if not folder:
                raise UserError(f"{root} cannot be read: {error.strerror}.") from error
            listing.leave_out(folder, f"cannot be read: {error.strerror}")
            continue
        for entry in entries:
            name = folder + entry.name
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if subfolders:
                    waiting.append(f"{name}/")
            elif reason := unsafe(name) or _unusable(entry, allowed):
                listing.leave_out(name, reason)
            else:
                listing.names.append(name)
        listing.check_count(root)


def _unusable(entry: "os.DirEntry[str]", root: Path) -> str | None:
    if not entry.is_symlink():
        return None if entry.is_file() else "not a regular file"
    try:
        target = Path(os.path.realpath(entry.path))
        if not target.exists():
            return "a broken link"
        if not target.is_relative_to(root):
            return "a link that leaves the folder"
        return None if target.is_file() else "a link to something that is not a regular file"
    except OSError as error:
        return f"a link that cannot be followed: {error.strerror}"


def _list_remote(folder: UPath, listing: Listing, *, subfolders: bool) -> None:
    depth = None if subfolders else 1
    found: dict[str, Any] = {}
    with suppress(FileNotFoundError):
        found = retrying(folder, lambda: folder.fs.find(folder.path, maxdepth=depth, detail=True))
    if not found:
        exists(folder)  # reports a server that cannot be reached
    root = folder.path.rstrip("/") + "/"
    for path, info in found.items():
        name = path.removeprefix(root)
        if not name or name == path or is_hidden(name):
            continue
        if reason := unsafe(name):
            listing.leave_out(name, reason)
            continue
        listing.names.append(name)
        if stamp := stamp_in(info):
            listing.stamps[name] = stamp
    listing.check_count(folder)
