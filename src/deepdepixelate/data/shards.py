"""Datasets of images of one size, stored as shards of raw uint8 ``.npy`` with a manifest.

A folder holds ``shard-00000.npy``, ``shard-00001.npy``, … of shape (count, H, W, C) and
``manifest.json``. ``write_dataset`` writes the manifest last and renames it into place, so a folder
that has one is complete. Shards are read as memory maps: a random crop reads a page or two and
decodes nothing.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deepdepixelate.data import storage
from deepdepixelate.data.sources.places import reporting_failures
from deepdepixelate.errors import UserError
from deepdepixelate.locations import Location
from deepdepixelate.parallel import map_in_order

MANIFEST = "manifest.json"
TABLE = "degradations.csv"
"""The degradation of each image, one row per image; only for realistic LR."""

_REPAIR = "Run kedro run --pipelines ingest,degrade again (with the same --env and --params)."


@dataclass(frozen=True)
class ImageBatch:
    """Images of one size: N names, and uint8 pixels of shape (N, H, W, C)."""

    names: list[str]
    pixels: NDArray[np.uint8]


class Shard(BaseModel):
    """One file of a dataset: its name, number of images, and SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(pattern=r"^shard-[0-9]{5,}\.npy$")]
    count: Annotated[int, Field(ge=0)]
    sha256: str


class Sealed(BaseModel):
    """A JSON file that shows when it was edited.

    Attributes:
        seal: SHA-256 of the other fields, as JSON with sorted keys.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seal: str

    @classmethod
    def sealed(cls, **fields: Any) -> Self:
        """Make it from all fields but the seal."""
        unsealed = cls(**fields, seal="")
        return unsealed.model_copy(update={"seal": unsealed._find_seal()})

    def is_intact(self) -> bool:
        """Whether the seal fits the other fields."""
        return self.seal == self._find_seal()

    def _find_seal(self) -> str:
        fields = self.model_dump(mode="json", exclude={"seal"})
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


Side = Annotated[int, Field(ge=1)]


class Manifest(Sealed):
    """The content of ``manifest.json``.

    Attributes:
        shape: of one image: (H, W, C).
    """

    count: int
    shape: tuple[Side, Side, Side]
    dtype: Literal["uint8"] = "uint8"
    split: str
    shards: tuple[Shard, ...]
    names: tuple[str, ...]
    details: dict[str, Any]

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if not self.count == len(self.names) == sum(shard.count for shard in self.shards):
            raise ValueError("it counts other images than it names")
        return self

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

    def __init__(self, directory: Location) -> None:
        self.directory = directory
        self.manifest = read_manifest(directory)
        for shard in self.manifest.shards:
            if not has_size(file := directory / shard.file, shard, self.manifest.shape):
                raise UserError(f"{file} is missing or cut short. {_REPAIR}")
        self._maps: dict[int, NDArray[np.uint8]] = {}
        self._starts = np.cumsum([0, *(shard.count for shard in self.manifest.shards)])

    def __reduce__(self) -> tuple[type[Self], tuple[Location]]:
        return type(self), (self.directory,)  # another process maps the files itself

    def __len__(self) -> int:
        return self.manifest.count

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        view: NDArray[np.uint8] = self._map(shard)[index - self._starts[shard]]
        return view

    def _map(self, index: int) -> NDArray[np.uint8]:
        """The memory map of a shard; a remote one is copied when it is first needed."""
        if (found := self._maps.get(index)) is None:
            shard = self.manifest.shards[index]
            path = storage.local_copy(self.directory / shard.file, shard.sha256)
            found = self._maps.setdefault(index, np.load(path, mmap_mode="r"))
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The images' names, in order."""
        return self.manifest.names

    def verify(self) -> None:
        """Read every shard and compare it with the hash in the manifest.

        Raises:
            UserError: shards differ.
        """
        if damaged := find_damaged(self.directory, self.manifest):
            others = f", and {len(damaged) - 1} others are" if len(damaged) > 1 else ""
            raise UserError(f"{damaged[0]} is damaged{others}. {_REPAIR}")

    def batches(self, size: int, part: range | None = None) -> Iterator[ImageBatch]:
        """The images in order, at most ``size`` at a time, read without memory maps.

        Args:
            size: images per batch, at most; no batch has images of two shards.
            part: the images' numbers, in steps of 1; None for all.
        """
        part = range(len(self)) if part is None else part
        for index, shard in enumerate(self.manifest.shards):
            first, end = int(self._starts[index]), int(self._starts[index + 1])
            chosen = range(max(first, part.start), min(end, part.stop))
            if chosen:
                names = self.names[chosen.start : chosen.stop]
                path, skip = self.directory / shard.file, chosen.start - first
                yield from read_shard(path, names, self.manifest.shape, size, skip)

    def shard_names(self, index: int) -> tuple[str, ...]:
        """The names of the images of one shard, in order."""
        return self.names[int(self._starts[index]) : int(self._starts[index + 1])]


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
                "kedro run --pipeline degrade (with the same --env and --params)."
            )
        self.hr = hr
        self.lr = lr
        self.scale: int = hr.manifest.shape[0] // lr.manifest.shape[0]

    def __len__(self) -> int:
        return len(self.hr)

    def verify(self) -> None:
        """Read all shards and compare them with their hashes; UserError if one differs."""
        self.hr.verify()
        self.lr.verify()

    def batches(
        self, size: int, part: range | None = None
    ) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        """HR and LR images in order, at most ``size`` of each at a time; as for ShardedImages."""
        done = part.start if part else 0
        for hr in self.hr.batches(size, part):
            lr = np.stack([self.lr[index] for index in range(done, done + len(hr.names))])
            yield hr, ImageBatch(hr.names, lr)
            done += len(hr.names)


def read_manifest(directory: Location) -> Manifest:
    """Read the manifest of a folder; UserError if there is none, or if it is damaged."""
    path = directory / MANIFEST
    try:
        manifest = Manifest.model_validate_json(storage.read(path))
    except FileNotFoundError:
        raise UserError(f"{directory} has no complete dataset: {MANIFEST} is missing.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        if [problem["loc"] for problem in error.errors()] == [("seal",)]:
            raise UserError(f"{path} was written by an earlier version. {_REPAIR}") from error
        raise UserError(
            f"{path} is damaged ({error.error_count()} errors, the first: "
            f"{error.errors()[0]['msg']}). {_REPAIR}"
        ) from error
    if not manifest.is_intact():
        raise UserError(f"{path} is damaged: it was changed after it was written. {_REPAIR}")
    return manifest


def read_shard(
    path: Location,
    names: Sequence[str],
    shape: tuple[int, int, int],
    size: int,
    skip: int = 0,
    sha256: str | None = None,
) -> Iterator[ImageBatch]:
    """Read so many images of a shard, after the first ``skip``, at most ``size`` at a time.

    Raises:
        UserError: the shard is cut short; or, after the last batch, it was read whole and does not
            have this SHA-256.
    """
    of_image = int(np.prod(shape))
    with reporting_failures(path), path.open("rb") as file:
        digest = hashlib.sha256(file.read(len(npy_header((len(names), *shape)))))
        file.seek(skip * of_image, os.SEEK_CUR)
        for start in range(0, len(names), size):
            chosen = list(names[start : start + size])
            wanted = len(chosen) * of_image
            if isinstance(path, Path):
                values = np.fromfile(file, np.uint8, wanted)
            else:
                values = np.frombuffer(bytearray(file.read(wanted)), np.uint8)  # writable
            if len(values) < wanted:
                raise UserError(f"{path} is cut short. {_REPAIR}")
            if sha256 is not None:
                digest.update(values.data)
            yield ImageBatch(chosen, values.reshape(len(chosen), *shape))
    if sha256 is not None and digest.hexdigest() != sha256:
        raise UserError(f"{path} is damaged. {_REPAIR}")


def has_size(path: Location, shard: Shard, shape: tuple[int, int, int]) -> bool:
    """Whether a file is there and has the size of its shard."""
    expected = len(npy_header((shard.count, *shape))) + shard.count * int(np.prod(shape))
    return storage.size_of(path) == expected


def matches(path: Location, shard: Shard, shape: tuple[int, int, int]) -> bool:
    """Whether a file is there and has the content of its shard; reads all of it.

    Shards are not synced to the disk when they are written: after a power failure, a file of the
    right size can hold zeros.
    """
    return has_size(path, shard, shape) and storage.sha256_of(path) == shard.sha256


def find_damaged(directory: Location, manifest: Manifest) -> list[Location]:
    """The shards that are missing or differ from the manifest; reads all of them."""
    results = map_in_order(
        lambda shard: matches(directory / shard.file, shard, manifest.shape), manifest.shards
    )
    return [
        directory / shard.file
        for shard, intact in zip(manifest.shards, results, strict=True)
        if not intact
    ]


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The ``.npy`` header. NumPy pads it, so its length does not depend on the count."""
    header = BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()
