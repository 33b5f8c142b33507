"""CelebA's aligned faces in the official splits."""

import hashlib
from collections import Counter
from pathlib import Path, PurePosixPath

from deepdepixelate.data.sources.archive import ZippedImages
from deepdepixelate.data.sources.folder import ImageFolder, list_images
from deepdepixelate.data.sources.lists import read_partition
from deepdepixelate.data.sources.source import SPLITS, EncodedImages, FaceSource, Split
from deepdepixelate.errors import UserError

_ARCHIVE = "img_align_celeba.zip"
_FOLDERS = ("img_align_celeba", "img_align_celeba_png")
_LISTS = ("list_eval_partition.txt", "list_eval_partition.csv")
"""The official list, and the list of Kaggle's copy, with commas and a heading."""


def open_celeba(directory: Path) -> FaceSource:
    """Open CelebA's aligned faces: ``img_align_celeba.zip``, read in place, or a folder of images.

    The folder is ``img_align_celeba`` or ``img_align_celeba_png``, also nested in a folder of the
    same name, or ``directory`` itself. Images are looked up in the list without their suffix, so
    that copies as PNG work. The images may be a part of the list; the missing ones are counted.

    Args:
        directory: the folder of the archive or images and the list, or the path of either file.

    Raises:
        UserError: there are no images, none of them is in the list, or the archive or the list is
            damaged.
    """
    place, names, images = _find_images(directory)
    list_file, partition = _find_partition(directory)
    splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for stem, name in sorted({PurePosixPath(name).stem: name for name in sorted(names)}.items()):
        if stem in partition:
            splits[partition[stem]].append(name)
    listed = Counter(partition.values())
    taken = sum(map(len, splits.values()))
    if not taken:
        raise UserError(
            f"{place} has {len(names):,} images, and none of them is in {list_file.name}: the "
            f"images include {min(names)}, the list {next(iter(partition))}. Use the images and "
            "the list of the same data set."
        )
    return FaceSource(
        splits=splits,
        images=images,
        origin={
            "dataset": "CelebA, aligned and cropped",
            "path": str(place.resolve()),
            "sha256": _sha256(place) if place.is_file() else None,
        },
        missing={split: listed[split] - len(splits[split]) for split in SPLITS},
        unlisted=len(names) - taken,
    )


def check_celeba(directory: Path) -> None:
    """Check that the images and the list are there; reads the list, and the archive's directory.

    Args:
        directory: as for ``open_celeba``.

    Raises:
        UserError: either is missing or damaged.
    """
    _find_images(directory)
    _find_partition(directory)


def _find_images(directory: Path) -> tuple[Path, list[str], EncodedImages]:
    """The archive or the folder, the names of its images, and the images."""
    if directory.is_file():
        directory = directory.parent
    if (place := directory / _ARCHIVE).exists():
        archive = ZippedImages(place)
        names, images = archive.names, archive
    else:
        place = _find_folder(directory)
        names, images = list_images(place), ImageFolder(place)
    if not names:
        raise UserError(
            f"no CelebA images in {directory}: neither img_align_celeba.zip nor a folder of "
            "images. Get the aligned faces (img_align_celeba.zip, 1.4 GB) and "
            "list_eval_partition.txt from the CelebA page, put both there, or name their folder: "
            "--params celeba_dir=DIR."
        )
    return place, names, images


def _find_partition(directory: Path) -> tuple[Path, dict[str, Split]]:
    """The list, and the split of each name without its suffix."""
    if directory.is_file():
        directory = directory.parent
    found = (path for name in _LISTS if (path := directory / name).exists())
    path = next(found, directory / _LISTS[0])
    return path, {PurePosixPath(name).stem: split for name, split in read_partition(path).items()}


def _find_folder(directory: Path) -> Path:
    folders = [
        folder for name in _FOLDERS for folder in (directory / name / name, directory / name)
    ]
    return next((folder for folder in folders if folder.is_dir()), directory)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
