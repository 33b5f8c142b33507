"""Parquet files in the folders where people have them."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from deepdepixelate.data.sources.listing import list_files
from deepdepixelate.data.sources.names import brief, is_image_name
from deepdepixelate.data.sources.parquet import ParquetImages
from deepdepixelate.data.sources.parquet_splits import split_of_path
from deepdepixelate.data.sources.places import stamp_of
from deepdepixelate.errors import UserError
from deepdepixelate.locations import Location


def find_parquet(directory: Location) -> ParquetImages | None:
    """The Parquet files of a folder or of its sub-folder ``parquet`` or ``data``, if any.

    If there are none, and no images either, all sub-folders are searched: a copy of a data set
    from the Hugging Face Hub has a folder for each of its configurations. Links that leave the
    folder are followed: the cache of the Hugging Face Hub consists of them.

    Raises:
        UserError: several sub-folders have Parquet files, and they are not splits.
    """
    found: list[str] = []
    for folder in (directory / "parquet", directory / "data", directory):
        if isinstance(folder, Path) and not folder.is_dir():
            continue
        found = list_files(folder, subfolders=folder != directory, links=True).names
        if files := _parquet_names(found):
            return _images_of(folder, files)
    if any(map(is_image_name, found)) or (isinstance(directory, Path) and not directory.is_dir()):
        return None
    files = _parquet_names(list_files(directory, subfolders=True, links=True).names)
    if not files:
        return None
    folders = sorted({_without_split(PurePosixPath(name).parent) for name in files})
    if len(folders) > 1:
        named = ", ".join(brief(str(each)) for each in folders[:5])
        raise UserError(
            f"{directory} has Parquet files in {len(folders)} folders: {named}. Name one of them; "
            f"or move those that belong together into {directory / 'parquet'}."
        )
    if folders[0].parts:
        directory = directory / str(folders[0])
        files = [PurePosixPath(name).relative_to(folders[0]).as_posix() for name in files]
    return _images_of(directory, files)


def _parquet_names(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.lower().endswith(".parquet")]


def _images_of(folder: Location, files: Sequence[str]) -> ParquetImages:
    stamps = " ".join(stamp_of(folder / name) for name in files)
    return ParquetImages(folder, tuple(files), stamps)


def _without_split(folder: PurePosixPath) -> PurePosixPath:
    """The folder, or the one above it if its own name is that of a split."""
    return folder.parent if split_of_path(folder.name) else folder
