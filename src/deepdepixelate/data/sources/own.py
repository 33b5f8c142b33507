"""A user's own folder of images."""

import hashlib
import logging
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from posixpath import basename
from typing import NamedTuple

from deepdepixelate.data.sources.folder import ImageFolder
from deepdepixelate.data.sources.listing import Listing, list_files
from deepdepixelate.data.sources.lists import IDENTITIES, read_identities
from deepdepixelate.data.sources.names import is_image_name, without_suffix
from deepdepixelate.data.sources.parquet_folder import find_parquet
from deepdepixelate.data.sources.places import exists
from deepdepixelate.data.sources.source import (
    SPLITS,
    EncodedImages,
    FaceSource,
    Split,
    describe_left_out,
)
from deepdepixelate.errors import UserError
from deepdepixelate.locations import Location, location
from deepdepixelate.parameters import SplitParameters

logger = logging.getLogger(__name__)


def open_faces(folder: Location, parameters: SplitParameters) -> FaceSource:
    """Open the images of a folder and its sub-folders, split by a hash of name or person.

    An image's split depends on its own name (or person) alone: adding an image moves no other. In a
    folder without images, the rows of its Parquet files are taken; see ``find_parquet``.

    Args:
        folder: with the images; their names are relative to it.
        parameters: how they are split.

    Raises:
        UserError: there is no such folder, it has no images, or a split would have none.
    """
    if isinstance(folder, Path):  # as other processes may run in other folders
        folder = folder.absolute()
    found = _find_images(folder)
    people = _people(folder, found, parameters)
    subfolders = {PurePosixPath(name).parts[0] for name in people if "/" in name}
    if parameters.by == "name" and len(subfolders) > 1:
        logger.warning(
            "The images are in %d sub-folders. If each sub-folder shows one person, set "
            "ingest.split.by=folder: then nobody is in two splits.",
            len(subfolders),
        )
    splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for name, person in people.items():
        splits[choose_split(person, parameters.val, parameters.test)].append(name)
    if empty := [split for split in SPLITS if not splits[split]]:
        raise UserError(_explain_empty(folder, empty, people, parameters))
    origin = {
        "dataset": "own images",
        "path": str(folder.resolve()) if isinstance(folder, Path) else str(folder),
        "split": parameters.model_dump(),
        **describe_left_out(found.listing.left_out, folder),
    }
    return FaceSource(splits=splits, images=found.images, origin=origin)


def check_faces(folder: Location, parameters: SplitParameters) -> None:
    """Check that there are images for each split; see ``open_faces``."""
    people = _people(folder, _find_images(folder), parameters)
    found = {choose_split(each, parameters.val, parameters.test) for each in people.values()}
    if empty := [split for split in SPLITS if split not in found]:
        raise UserError(_explain_empty(folder, empty, people, parameters))


def choose_split(key: str, val: float, test: float) -> Split:
    """The split of an image or person: the first bits of a SHA-256 as a fraction.

    Args:
        key: the name. Unicode is normalised (NFC), as file systems write accents differently.
        val: fraction of names for validation.
        test: fraction of names for the test split.
    """
    digest = hashlib.sha256(unicodedata.normalize("NFC", key).encode()).digest()
    fraction = int.from_bytes(digest[:8], "big") / 2**64
    if fraction < test:
        return "test"
    return "val" if fraction < test + val else "train"


class _Found(NamedTuple):
    listing: Listing
    images: EncodedImages
    people: Mapping[str, str] = {}
    """The person of each name, if the images come with it."""


def _find_images(folder: Location) -> _Found:
    if isinstance(folder, Path) and not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder: name the folder with your images: --params faces_dir=DIR."
        )
    files = list_files(folder, subfolders=True)
    listing = Listing(left_out=files.left_out, stamps=files.stamps)
    for name in files.names:
        if is_image_name(name):
            listing.names.append(name)
        elif name not in IDENTITIES:
            listing.leave_out(name, "not a JPEG, PNG, WebP or BMP file")
    if listing.names:
        return _Found(listing, ImageFolder(folder, listing.stamps))
    if table := find_parquet(folder):
        rows = table.list()
        if rows.listing.names:
            return _Found(rows.listing, table, rows.people)
    raise UserError(
        f"no images in {folder}: it needs JPEG, PNG, WebP or BMP files, in sub-folders or not, or "
        "Parquet files with images. Name the folder with your images: --params faces_dir=DIR."
    )


def _people(folder: Location, found: _Found, parameters: SplitParameters) -> dict[str, str]:
    """The key of each image for its split: its name or its person."""
    names = found.listing.names
    if parameters.by == "name":
        return {name: name for name in names}
    if parameters.by == "folder":
        people = {name: PurePosixPath(name).parts[0] for name in names if "/" in name}
        reason = "not in a sub-folder, which ingest.split.by=folder needs"
    elif found.people and parameters.identities is None:
        people = dict(found.people)
        reason = "its row names no person"
    else:
        path = _identity_list(folder, parameters)
        identities = read_identities(path)
        people = {
            name: identities[key]
            for name in names
            for key in [without_suffix(basename(name)), without_suffix(name)]
            if key in identities
        }
        reason = f"not in {path.name}"
    for name in names:
        if name not in people:
            found.listing.leave_out(name, reason)
    if not people:
        raise UserError(f"none of the {len(names):,} images in {folder} can be split: {reason}.")
    return people


def _identity_list(folder: Location, parameters: SplitParameters) -> Location:
    if parameters.identities is not None:
        return location(parameters.identities)
    places = [folder / name for name in IDENTITIES]
    return next((place for place in places if exists(place)), places[0])


def _explain_empty(
    folder: Location, empty: list[Split], people: dict[str, str], parameters: SplitParameters
) -> str:
    units = "images" if parameters.by == "name" else "people"
    shares = [f"ingest.split.{split}" for split in empty if split != "train"]
    raise_them = f", or raise {' and '.join(shares)}" if shares else ""
    return (
        f"{folder} has too few {units} ({len(set(people.values())):,}): none of them is in the "
        f"{' and the '.join(empty)} split. Add {units}{raise_them}."
    )
