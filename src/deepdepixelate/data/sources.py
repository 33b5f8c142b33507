"""Sources of encoded face images with their splits; CelebA's archive or folder."""

import hashlib
import lzma
import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from deepdepixelate.errors import UserError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_DAMAGED_ENTRY = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    OSError,
)
_JPEG_MAGIC = b"\xff\xd8\xff"
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

_ARCHIVE = "img_align_celeba.zip"
_FOLDERS = ("img_align_celeba", "img_align_celeba_png")
_LISTS = ("list_eval_partition.txt", "list_eval_partition.csv")
"""The official list, and the list of Kaggle's copy, with commas and a heading."""


class RejectedImageError(Exception):
    """An image that cannot be used, with the reason."""


class EncodedImages(Protocol):
    """Encoded images by name. Pickled, it holds paths alone: another process opens the files."""

    def read(self, name: str) -> bytes:
        """The encoded bytes of an image, on any thread; RejectedImageError if damaged."""

    def stamp(self, name: str) -> str:
        """Changes with the image's content, as far as that shows without reading it.

        For example the size and the checksum in an archive's directory, or the size and the time of
        the last change of a file.
        """


@dataclass(frozen=True)
class FaceSource:
    """A set of encoded images, each in one split.

    Attributes:
        splits: the names of the images of each split, in order.
        images: the images.
        origin: describes the source in manifests and in the report; ``path`` may be None.
        missing: how many names of each split's list have no image.
        unlisted: how many images are in no split.
    """

    splits: Mapping[Split, Sequence[str]]
    images: EncodedImages
    origin: Mapping[str, Any]
    missing: Mapping[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    unlisted: int = 0


def decode(encoded: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Decode an image that must be RGB of exactly this size.

    JPEG is decoded by libjpeg-turbo in strict mode, which raises an error on damaged data (a bad
    Huffman code, surplus bytes) that Pillow would replace with gray or garbage.

    Returns:
        uint8 RGB of shape (height, width, 3).

    Raises:
        RejectedImageError: damaged, not an image, not RGB or of another size.
    """

    def check_header(mode: str, actual_width: int, actual_height: int) -> None:
        """Check before decoding: a header can claim a size that does not fit into memory."""
        if mode != "RGB":
            raise RejectedImageError(f"colour mode {mode}, expected RGB")
        if (actual_width, actual_height) != (width, height):
            raise RejectedImageError(
                f"{actual_width}x{actual_height} pixels, expected {width}x{height}"
            )

    if encoded.startswith(_JPEG_MAGIC):
        try:
            actual_height, actual_width, space, _ = simplejpeg.decode_jpeg_header(encoded)
            check_header("RGB" if space == "YCbCr" else space, actual_width, actual_height)
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(encoded, strict=True)
            return pixels
        except ValueError as error:
            raise RejectedImageError(f"damaged JPEG: {error}") from error
    try:
        with Image.open(BytesIO(encoded)) as image:
            check_header(image.mode, *image.size)
            return np.asarray(image)
    except UnidentifiedImageError:
        raise RejectedImageError("not an image that can be read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RejectedImageError(f"damaged image: {error}") from error


def read_partition(path: Path) -> dict[str, Split]:
    """Read CelebA's partition list: a name and 0, 1 or 2 (train, val, test) per line.

    They are separated by blanks or a comma. A byte-order mark and a heading (``image_id``) are
    skipped.

    Raises:
        UserError: the file is missing or empty, or a line has another form or repeats a name.
    """
    partition: dict[str, Split] = {}
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing. It comes with CelebA (folder Eval) and lists the split of each "
            "image. Put it there or name its folder: --params celeba_dir=DIR."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CelebA's partition list: {error}") from error
    for number, line in enumerate(lines, start=1):
        fields = line.replace(",", " ").split()
        if not fields or (number == 1 and fields[0] == "image_id"):
            continue
        match fields:
            case [name, "0" | "1" | "2" as code] if name not in partition:
                partition[name] = SPLITS[int(code)]
            case [name, "0" | "1" | "2"]:
                raise UserError(f"{path}, line {number}: {name} is listed a second time.")
            case _:
                raise UserError(
                    f"{path}, line {number}: expected a file name and 0, 1 or 2 (train, val, "
                    f"test), found {line[:80]!r}."
                )
    if not partition:
        raise UserError(f"{path} lists no image.")
    return partition


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
        names = archive.names
        images: EncodedImages = archive
    else:
        place = _find_folder(directory)
        names, images = _list_images(place), ImageFolder(place)
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


@dataclass(frozen=True)
class ZippedImages:
    """The images of a zip archive, read in place. Folders in the archive are left out of the names.

    Attributes:
        path: of the archive.
    """

    path: Path

    @property
    def names(self) -> list[str]:
        """The names; UserError if the archive is damaged."""
        return list(_opened(self.path).entries)

    def read(self, name: str) -> bytes:
        archive = _opened(self.path)
        entry = archive.entries[name]
        try:
            if entry.compress_type == zipfile.ZIP_STORED and hasattr(os, "pread"):
                return _read_stored(archive.file, entry)
            return archive.file.read(entry)
        except _DAMAGED_ENTRY as error:
            raise RejectedImageError(f"damaged in the archive: {error}") from error

    def stamp(self, name: str) -> str:
        entry = _opened(self.path).entries[name]
        return f"{entry.file_size} {entry.CRC:08x}"


class _OpenZip(NamedTuple):
    file: zipfile.ZipFile
    entries: dict[str, zipfile.ZipInfo]


def _opened(path: Path) -> _OpenZip:
    """An archive, opened once in a process: reading the directory of CelebA's takes a second."""
    try:
        status = path.stat()
        return _open_zip(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=4)
def _open_zip(path: Path, size: int, changed: int) -> _OpenZip:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not a complete zip archive ({error}); the download may have been cut "
            "short. Download it again."
        ) from error
    entries = {
        PurePosixPath(entry.filename).name: entry
        for entry in archive.infolist()
        if _is_image_name(entry.filename)
    }
    return _OpenZip(archive, entries)


def _read_stored(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read an uncompressed entry, as in CelebA's archive, without ``zipfile``'s lock.

    This takes a third of the time. The lengths of name and extra field are at offset 26 of the
    local header (APPNOTE.TXT, 4.3.7) and may differ from the central directory's.
    """
    assert archive.fp is not None  # noqa: S101 - it is open
    descriptor = archive.fp.fileno()
    header = os.pread(descriptor, 30, entry.header_offset)
    name_length, extra_length = struct.unpack("<2H", header[26:30])
    start = entry.header_offset + 30 + name_length + extra_length
    data = os.pread(descriptor, entry.file_size, start)
    if zlib.crc32(data) != entry.CRC:
        raise zipfile.BadZipFile(f"bad CRC-32 for {entry.filename}")
    return data


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        path: of the folder.
    """

    path: Path

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise RejectedImageError(f"cannot be read: {error.strerror}") from error

    def stamp(self, name: str) -> str:
        try:
            status = (self.path / name).stat()
        except OSError:
            return "cannot be read"
        return f"{status.st_size} {status.st_mtime_ns}"


def _list_images(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    return [path.name for path in directory.iterdir() if _is_image_name(path.name)]


def _is_image_name(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix.lower() in _IMAGE_SUFFIXES and not name.name.startswith(".")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
