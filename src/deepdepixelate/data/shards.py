"""Datasets of images of one size, stored as shards of raw uint8 ``.npy`` with a manifest.

A folder holds ``shard-00000.npy``, ``shard-00001.npy``, … of shape (count, H, W, C) and
``manifest.json``. The manifest is written last and renamed into place, so a folder that has one is
complete. Shards are read as memory maps: a random crop reads a page or two and decodes nothing.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write, make_folder

MANIFEST = "manifest.json"
TABLE = "degradations.csv"
"""The degradation of each image, one row per image; only for realistic LR."""

_REPAIR = "Run kedro run --pipelines ingest,degrade again (with the same --env)."


@dataclass(frozen=True)
class ImageBatch:
    """Images of one size: N names, and uint8 pixels of shape (N, H, W, C)."""

    names: list[str]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class ImageStream:
    """Images that are made while they are written, so that memory stays small.

    Attributes:
        batches: the images in order; can be iterated once.
        details: gives the manifest's ``details`` (a JSON object); called after the last batch.
        table: gives the content of ``TABLE``, empty for no file; called after the last batch.
    """

    batches: Iterable[ImageBatch]
    details: Callable[[], Mapping[str, Any]] = field(default=dict)
    table: Callable[[], bytes] = field(default=bytes)


class Shard(BaseModel):
    """One file of a dataset: its name, number of images, and SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    count: int
    sha256: str


class Manifest(BaseModel):
    """The content of ``manifest.json``. ``shape`` is that of one image: (H, W, C)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int
    shape: tuple[int, int, int]
    dtype: str = "uint8"
    split: str
    shards: tuple[Shard, ...]
    names: tuple[str, ...]
    details: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the shards' hashes: equal for equal pixels, order and sharding."""
        lines = "".join(f"{shard.sha256} {shard.count}\n" for shard in self.shards)
        return hashlib.sha256(lines.encode()).hexdigest()


class ShardedImages:
    """Images of one size. Indexing gives read-only views (H, W, C) into the memory maps.

    Raises:
        UserError: the folder has no manifest, or the manifest or a shard is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = _read_manifest(directory)
        self._starts = np.cumsum([0, *(shard.count for shard in self.manifest.shards)])

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.directory,)  # another process maps the files itself

    def __len__(self) -> int:
        return self.manifest.count

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        view: NDArray[np.uint8] = self._maps[shard][index - self._starts[shard]]
        return view

    @cached_property
    def _maps(self) -> list[NDArray[np.uint8]]:
        return [
            np.load(self.directory / shard.file, mmap_mode="r") for shard in self.manifest.shards
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """The images' names, in order."""
        return self.manifest.names

    def verify(self) -> None:
        """Read every shard and compare it with the hash in the manifest.

        Shards are not synced to the disk when they are written, as that would take most of the
        time: after a power failure, a shard of the right size can hold zeros.

        Raises:
            UserError: a shard differs.
        """
        for shard in self.manifest.shards:
            path = self.directory / shard.file
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                    raise UserError(f"{path} is damaged. {_REPAIR}")

    def batches(self, size: int) -> Iterator[ImageBatch]:
        """All images in order, at most ``size`` at a time, read without memory maps."""
        done = 0
        for shard in self.manifest.shards:
            with (self.directory / shard.file).open("rb") as file:
                file.seek(len(_header((shard.count, *self.manifest.shape))))
                for start in range(0, shard.count, size):
                    count = min(size, shard.count - start)
                    values = np.fromfile(file, np.uint8, count * int(np.prod(self.manifest.shape)))
                    names = list(self.names[done : done + count])
                    yield ImageBatch(names, values.reshape(count, *self.manifest.shape))
                    done += count


class ImagePairs:
    """HR images and the LR images made from them.

    Attributes:
        hr: HR images, (H, W, C) each.
        lr: LR images in the same order, (H / scale, W / scale, C) each.
        scale: how many times smaller LR is.

    Raises:
        UserError: LR was made from other images.
    """

    def __init__(self, hr: ShardedImages, lr: ShardedImages) -> None:
        source = lr.manifest.details.get("source")
        if source != hr.manifest.digest or lr.names != hr.names:
            raise UserError(
                f"{lr.directory} was not made from the images that are now in {hr.directory}. Run "
                "kedro run --pipeline degrade (with the same --env)."
            )
        self.hr = hr
        self.lr = lr
        self.scale: int = lr.manifest.details["scale"]

    def __len__(self) -> int:
        return len(self.hr)

    def verify(self) -> None:
        """Read all shards and compare them with their hashes; UserError if one differs."""
        self.hr.verify()
        self.lr.verify()

    def batches(self, size: int) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        """All HR and LR images in order, at most ``size`` of each at a time."""
        done = 0
        for hr in self.hr.batches(size):
            lr = np.stack([self.lr[index] for index in range(done, done + len(hr.names))])
            yield hr, ImageBatch(hr.names, lr)
            done += len(hr.names)


@dataclass
class _ShardWriter:
    """Writes one shard, batch by batch; until ``finish`` its header counts ``capacity`` images."""

    path: Path
    shape: tuple[int, int, int]
    capacity: int
    count: int = 0

    def __enter__(self) -> Self:
        self._file = self.path.open("w+b")
        self._pool = ThreadPoolExecutor(1)
        self._hash = hashlib.sha256()
        self._write(_header((self.capacity, *self.shape)))
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
        self._file.close()

    def append(self, pixels: NDArray[np.uint8]) -> None:
        self._write(np.ascontiguousarray(pixels).data.cast("B"))
        self.count += len(pixels)

    def finish(self) -> Shard:
        """Write the number of images into the header, if the shard is not full."""
        if self.count < self.capacity:
            self._file.seek(0)
            self._file.write(_header((self.count, *self.shape)))
            self._file.flush()
            self._file.seek(0)
            self._hash = hashlib.file_digest(self._file, "sha256")
        return Shard(file=self.path.name, count=self.count, sha256=self._hash.hexdigest())

    def _write(self, data: bytes | memoryview) -> None:
        written = self._pool.submit(self._file.write, data)  # hash while writing
        self._hash.update(data)
        written.result()


def write_shards(
    directory: Path, stream: ImageStream, *, split: str, images_per_shard: int
) -> Manifest:
    """Write a stream of images of one size as shards, and then their manifest.

    An earlier dataset in the folder is removed first, its manifest before its shards.

    Raises:
        UserError: the stream has no images, or the folder cannot be written to.
        ValueError: the images are not uint8 of one size.
    """
    try:
        make_folder(directory)
        _remove_shards(directory)
        shards, names, shape = _write_all(directory, stream, images_per_shard)
        if shape is None:
            raise UserError(f"no usable images for the {split} split: {directory} was not written.")
        manifest = Manifest(
            count=len(names),
            shape=shape,
            split=split,
            shards=tuple(shards),
            names=tuple(names),
            details=dict(stream.details()),
        )
        if table := stream.table():
            with atomic_write(directory / TABLE) as file:
                file.write(table)
        with atomic_write(directory / MANIFEST) as file:
            file.write(manifest.model_dump_json(indent=1).encode())
    except OSError as error:
        with suppress(OSError):
            _remove_shards(directory)
        raise UserError(
            f"{directory} could not be written: {error.strerror or error}. The incomplete dataset "
            "was removed; make room or mend the permissions and run the same command again."
        ) from error
    return manifest


def _remove_shards(directory: Path) -> None:
    """Remove a dataset's files, the manifest first; other files in the folder stay."""
    for path in (directory / MANIFEST, directory / TABLE, *directory.glob("shard-*.npy")):
        path.unlink(missing_ok=True)


def _write_all(
    directory: Path, stream: ImageStream, images_per_shard: int
) -> tuple[list[Shard], list[str], tuple[int, int, int] | None]:
    shards: list[Shard] = []
    names: list[str] = []
    shape: tuple[int, int, int] | None = None
    waiting = (batch for batch in stream.batches if batch.names)
    batch = next(waiting, None)
    while batch is not None:
        shape = shape or (batch.pixels.shape[1], batch.pixels.shape[2], batch.pixels.shape[3])
        path = directory / f"shard-{len(shards):05d}.npy"
        with _ShardWriter(path, shape, images_per_shard) as shard:
            while batch is not None and shard.count < images_per_shard:
                if batch.pixels.dtype != np.uint8 or batch.pixels.shape[1:] != shape:
                    raise ValueError(f"{batch.pixels.dtype} {batch.pixels.shape[1:]} among {shape}")
                room = images_per_shard - shard.count
                shard.append(batch.pixels[:room])
                names += batch.names[:room]
                rest = ImageBatch(batch.names[room:], batch.pixels[room:])
                batch = rest if rest.names else next(waiting, None)
            shards.append(shard.finish())
    return shards, names, shape


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{directory} has no complete dataset: {MANIFEST} is missing.") from None
    except ValidationError as error:
        raise UserError(
            f"{path} is damaged ({error.error_count()} errors, the first: "
            f"{error.errors()[0]['msg']}). {_REPAIR}"
        ) from error
    for shard in manifest.shards:
        header = _header((shard.count, *manifest.shape))
        expected = len(header) + shard.count * int(np.prod(manifest.shape))
        file = directory / shard.file
        if not file.is_file() or file.stat().st_size != expected:
            raise UserError(f"{file} is missing or cut short. {_REPAIR}")
    return manifest


def _header(shape: tuple[int, ...]) -> bytes:
    """The ``.npy`` header. NumPy pads it, so its length does not depend on the count."""
    header = BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()
