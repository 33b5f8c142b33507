"""Datasets are written shard by shard: any process makes any shard, and finished ones are kept.

A plan says what each shard is made from before anything is read. Beside ``shard-00000.npy`` stands
``shard-00000.json``, its part of the manifest, with a key: a hash of all that the shard was made
from. A run that finds a shard with the key of its plan, and with the right content, keeps it.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import ValidationError
from tqdm import tqdm

from deepdepixelate.data import storage
from deepdepixelate.data.shards import (
    MANIFEST,
    TABLE,
    Manifest,
    Sealed,
    Shard,
    matches,
    npy_header,
)
from deepdepixelate.errors import UserError
from deepdepixelate.locations import Location
from deepdepixelate.parallel import Engine

logger = logging.getLogger(__name__)

ROWS = "rows"
"""The key of the rows of ``TABLE`` among the details of made images: JSON objects."""

_FORMAT = 1
"""Part of every key. Raise it when the code makes other shards from the same input."""


class MadeImages(NamedTuple):
    """Images of a shard, in order.

    Attributes:
        names: of N images.
        pixels: uint8 of shape (N, H, W, C).
        details: lists for the manifest; those of all shards are joined.
    """

    names: Sequence[str]
    pixels: NDArray[np.uint8]
    details: Mapping[str, Sequence[Any]] = {}


@dataclass(frozen=True)
class ShardTask:
    """What one shard is made from.

    Attributes:
        index: of the shard, from 0.
        names: of the images, including those that will turn out to be unusable.
        key: hash of all that decides the shard's content; see ``shard_key``.
    """

    index: int
    names: tuple[str, ...]
    key: str

    @property
    def file(self) -> str:
        """Name of the shard's file."""
        return f"shard-{self.index:05d}.npy"


def shard_key(**made_from: Any) -> str:
    """A hash of all that a shard is made from: JSON values."""
    return hashlib.sha256(json.dumps([_FORMAT, made_from], sort_keys=True).encode()).hexdigest()


class Maker(Protocol):
    """Makes the images of a shard. It can be pickled."""

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        """Make the images in batches, on so many threads; the result does not depend on them."""


class Part(Sealed):
    """The part of the manifest that describes one shard; ``shard.count`` may be 0: no file."""

    key: str
    shard: Shard
    names: tuple[str, ...]
    details: dict[str, list[Any]]


@dataclass(frozen=True)
class DatasetPlan:
    """What the shards of a dataset are made from, and how.

    Attributes:
        tasks: one for each shard.
        make: makes the images of a shard.
        shape: (H, W, C) of every image.
        details: the manifest's ``details`` that are known before; the lists of all shards join
            them, except ``ROWS``, which go into ``TABLE``.
        engine: runs the tasks.
        check: called with the details of each shard, in order; may raise UserError.
        title: of the progress bar.
    """

    tasks: Sequence[ShardTask]
    make: Maker
    shape: tuple[int, int, int]
    details: Mapping[str, Any]
    engine: Engine
    check: Callable[[Mapping[str, Sequence[Any]]], None] = lambda details: None
    title: str = "write"


def write_dataset(directory: Location, plan: DatasetPlan, *, split: str) -> Manifest:
    """Make the shards of a plan that are not there yet, and then their manifest.

    The manifest of an earlier dataset in the folder is removed first. A shard appears under its
    name when it is complete. Whatever stops the run, the next one keeps the finished shards.

    Raises:
        UserError: no image is usable, or the folder cannot be written to, or another run of this
            machine writes to it.
        ValueError: the images are not uint8 of the planned shape.
    """
    directory = storage.absolute(directory)  # a task may run in another working directory
    try:
        storage.prepare(directory)
        with _alone(directory):
            return _write_all(directory, plan, split)
    except Timeout as error:
        raise UserError(
            f"another run writes to {directory}: wait until it has finished, or stop it."
        ) from error
    except OSError as error:
        raise UserError(
            f"{directory} could not be written: {error.strerror or error}. Make room or mend the "
            "permissions and run the same command again: finished shards are kept."
        ) from error


@contextmanager
def _alone(directory: Location) -> Iterator[None]:
    """Keep other runs out of a folder; an object store has no locks."""
    if not isinstance(directory, Path):
        yield
        return
    with FileLock(lock := directory / ".write.lock", timeout=0):
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


def _write_all(directory: Location, plan: DatasetPlan, split: str) -> Manifest:
    _remove_old(directory, {task.file for task in plan.tasks})
    parts = _finish_all(directory, plan)
    _remove_temporary(directory)  # of nodes that died
    manifest = _join(parts, plan, split)
    if not manifest.count:
        raise UserError(f"no usable images for the {split} split: {directory} was not written.")
    if table := _as_csv(parts):
        storage.write(directory / TABLE, table)
    storage.write(directory / MANIFEST, manifest.model_dump_json(indent=1).encode())
    return manifest


def _remove_old(directory: Location, planned: set[str]) -> None:
    """Remove the manifest, and what the plan does not have; other files in the folder stay."""
    for name in (MANIFEST, TABLE):
        storage.remove(directory / name)
    _remove_temporary(directory)
    for path in storage.find(directory, "shard-*.npy", "shard-*.json"):
        if path.with_suffix(".npy").name not in planned:
            storage.remove(path)


def _remove_temporary(directory: Location) -> None:
    for path in storage.find(directory, "shard-*.tmp"):
        storage.remove(path)


def _finish_all(directory: Location, plan: DatasetPlan) -> list[Part]:
    finish = _Finish(directory, plan.make, plan.shape, plan.engine.threads_per_task(plan.tasks))
    parts: list[Part] = []
    kept = 0
    total = sum(len(task.names) for task in plan.tasks)
    with tqdm(total=total, desc=plan.title, unit="image") as progress:
        for task, (part, was_there) in zip(
            plan.tasks, plan.engine.map(finish, plan.tasks), strict=True
        ):
            plan.check(part.details)
            parts.append(part)
            kept += was_there
            progress.update(len(task.names))
    if kept:
        logger.info("%s: kept %d of %d shards", plan.title, kept, len(parts))
    return parts


@dataclass(frozen=True)
class _Finish:
    """Keeps or makes a shard; can be pickled."""

    directory: Location
    make: Maker
    shape: tuple[int, int, int]
    threads: int

    def __call__(self, task: ShardTask) -> tuple[Part, bool]:
        """The shard's part of the manifest, and whether the shard was there."""
        if part := self._find(task):
            return part, True
        return self._write(task), False

    def _find(self, task: ShardTask) -> Part | None:
        path = self.directory / task.file
        with suppress(OSError, ValidationError):
            part = Part.model_validate_json(storage.read(path.with_suffix(".json")))
            named = len(part.names) == part.shard.count and set(part.names) <= set(task.names)
            if (part.key == task.key and part.is_intact() and named) and (
                not part.shard.count or matches(path, part.shard, self.shape)
            ):
                return part
        return None

    def _write(self, task: ShardTask) -> Part:
        path = self.directory / task.file
        names: list[str] = []
        details: dict[str, list[Any]] = {}
        with storage.temporary_file(path) as temporary:
            with temporary.open("w+b") as file:
                header = npy_header((len(task.names), *self.shape))
                sha256 = hashlib.sha256(header)
                file.write(header)
                for made in self.make(task, self.threads):
                    if made.pixels.dtype != np.uint8 or made.pixels.shape[1:] != self.shape:
                        raise ValueError(
                            f"{made.pixels.dtype} {made.pixels.shape[1:]} among {self.shape}"
                        )
                    data = np.ascontiguousarray(made.pixels).reshape(-1).data
                    file.write(data)
                    sha256.update(data)
                    names += made.names
                    for name, values in made.details.items():
                        details.setdefault(name, []).extend(values)
                if len(names) < len(task.names):
                    file.seek(0)
                    file.write(npy_header((len(names), *self.shape)))
                    file.flush()
                    file.seek(0)
                    sha256 = hashlib.file_digest(file, "sha256")
            if names:
                storage.put(temporary, path)
            else:
                storage.remove(path)
        shard = Shard(file=task.file, count=len(names), sha256=sha256.hexdigest())
        part = Part.sealed(key=task.key, shard=shard, names=tuple(names), details=details)
        with storage.temporary_file(description := path.with_suffix(".json")) as temporary:
            temporary.write_text(part.model_dump_json(), encoding="utf-8")
            storage.put(temporary, description)
        return part


def _join(parts: Sequence[Part], plan: DatasetPlan, split: str) -> Manifest:
    details = dict(plan.details)
    for part in parts:
        for name, values in part.details.items():
            if name != ROWS:
                details.setdefault(name, []).extend(values)
    return Manifest.sealed(
        count=sum(part.shard.count for part in parts),
        shape=plan.shape,
        split=split,
        shards=tuple(part.shard for part in parts if part.shard.count),
        names=tuple(chain.from_iterable(part.names for part in parts)),
        details=details,
    )


def _as_csv(parts: Sequence[Part]) -> bytes:
    """A CSV file with one row per image, numbers to six digits; empty if there are no rows."""
    rows = [row for part in parts for row in part.details.get(ROWS, ())]
    if not rows:
        return b""
    text: str = pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text.encode()
