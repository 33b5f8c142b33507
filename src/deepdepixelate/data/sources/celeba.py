"""CelebA's aligned faces in the official splits."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from posixpath import basename
from typing import NamedTuple

from deepdepixelate.data.sources.archive import ZippedImages
from deepdepixelate.data.sources.folder import ImageFolder
from deepdepixelate.data.sources.listing import Listing, list_files
from deepdepixelate.data.sources.lists import PARTITIONS, read_partition
from deepdepixelate.data.sources.names import brief, is_image_name, without_suffix
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
from deepdepixelate.locations import Location

_ARCHIVES = ("img_align_celeba.zip", "celeba-dataset.zip", "archive.zip")
"""The official archive, and Kaggle's under two names; it holds the list, too."""

_FOLDERS = ("img_align_celeba", "img_align_celeba_png")


def open_celeba(directory: Location) -> FaceSource:
    """Open CelebA's aligned faces, from the first of these that is in ``directory``.

    - ``img_align_celeba.zip``, or Kaggle's ``celeba-dataset.zip`` or ``archive.zip``, read in
      place;
    - a folder ``img_align_celeba`` or ``img_align_celeba_png`` of images, also nested in a folder
      of the same name;
    - Parquet files, also in a sub-folder; see ``find_parquet`` and ``ParquetImages``;
    - images.

    The splits are those of the Parquet files if they state them, otherwise those of the list.
    Images are looked up in the list without their suffix, so that copies as PNG work. They may be a
    part of the list; the missing ones are counted.

    Args:
        directory: path or URL of the folder, or of the archive or list in it.

    Raises:
        UserError: there are no images, none of them is in the list, or the archive or the list is
            damaged.
    """
    source = _open(directory)
    place = Path(str(source.origin["path"]))
    if isinstance(directory, Path) and place.is_file():
        return replace(source, origin={**source.origin, "sha256": _sha256(place)})
    return source


def check_celeba(directory: Location) -> None:
    """Check that the images and the list are there; no image is read.

    Args:
        directory: as for ``open_celeba``.

    Raises:
        UserError: as for ``open_celeba``.
    """
    _open(directory)


class _Found(NamedTuple):
    place: Location
    listing: Listing
    images: EncodedImages
    splits: Mapping[str, Split] = {}
    """The split of each name, if the images come with it."""


def _open(directory: Location) -> FaceSource:
    if isinstance(directory, Path):  # absolute, as other processes may run in other folders
        directory = directory.absolute()
        directory = directory.parent if directory.is_file() else directory
    elif directory.name in (*_ARCHIVES, *PARTITIONS):
        directory = directory.parent
    place, listing, images, stated = _find_images(directory)
    partition: Mapping[str, Split]
    if stated:
        list_file, partition = place, {_key(name): split for name, split in stated.items()}
    else:
        list_file, partition = _find_partition(directory, images)
    by_stem: dict[str, str] = {}
    for name in sorted(listing.names):
        if (used := by_stem.setdefault(_key(name), name)) != name:
            listing.leave_out(name, f"has the same name as {used}, which is used")
    splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for stem, name in by_stem.items():
        if stem in partition:
            splits[partition[stem]].append(name)
    listed = Counter(partition.values())
    taken = sum(map(len, splits.values()))
    if not taken:
        raise UserError(
            f"{place} has {len(by_stem):,} images, and none of them is in {list_file.name}: the "
            f"images include {next(iter(by_stem.values()))}, the list "
            f"{brief(next(iter(partition)))}. Use the images and the list of the same data set."
        )
    return FaceSource(
        splits=splits,
        images=images,
        origin={
            "dataset": "CelebA, aligned and cropped",
            "path": str(place.resolve()) if isinstance(place, Path) else str(place),
            "sha256": None,
            **describe_left_out(listing.left_out, place),
        },
        missing={split: listed[split] - len(splits[split]) for split in SPLITS},
        unlisted=len(by_stem) - taken,
    )


def _find_images(directory: Location) -> _Found:
    """The archive or the folder, the names of its images, and the images."""
    archives = [place for name in _ARCHIVES if exists(place := directory / name)]
    if archives:
        archive = ZippedImages(place := archives[0])
        found = _Found(place, archive.list(), archive)
    elif (place := _find_folder(directory)) == directory and (table := find_parquet(directory)):
        rows = table.list()
        found = _Found(table.folder, rows.listing, table, rows.splits)
    else:
        listing = _list_images(place)
        found = _Found(place, listing, ImageFolder(place, listing.stamps))
    if not found.listing.names:
        raise UserError(
            f"no CelebA images in {directory}: neither img_align_celeba.zip, nor a folder of "
            "images, nor Parquet files. Download them, 1.4 GB: kedro run --pipeline download. "
            "Or put img_align_celeba.zip and list_eval_partition.txt there, or name their folder: "
            "--params celeba_dir=DIR."
        )
    return found


def _find_partition(
    directory: Location, images: EncodedImages
) -> tuple[Location, Mapping[str, Split]]:
    """The list, and the split of each name without its suffix."""
    places = [directory / name for name in PARTITIONS]
    path = next((place for place in places if exists(place)), None)
    content = None
    if path is None and isinstance(images, ZippedImages):
        path, content = next(
            ((images.path / name, content) for name, content in images.lists().items()),
            (None, None),
        )
    path = path or places[0]
    partition: dict[str, Split] = {}
    for name, split in read_partition(path, content).items():
        if partition.setdefault(_key(name), split) != split:
            raise UserError(
                f"{path}: two names differ only by their folder or suffix, and are in different "
                f"splits; one of them is {name[:80]!r}. Remove one of them."
            )
    return path, partition


def _key(name: str) -> str:
    """What images and lists have in common: the name without folder and suffix."""
    return without_suffix(basename(name))


def _find_folder(directory: Location) -> Location:
    folders = [
        folder for name in _FOLDERS for folder in (directory / name / name, directory / name)
    ]
    return next((folder for folder in folders if exists(folder)), directory)


def _list_images(directory: Location) -> Listing:
    if isinstance(directory, Path) and not directory.is_dir():
        return Listing()
    found = list_files(directory, subfolders=False)
    return Listing(
        names=[name for name in found.names if is_image_name(name)],
        left_out=[each for each in found.left_out if is_image_name(each["name"])],
        stamps=found.stamps,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
