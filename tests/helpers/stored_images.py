"""Datasets of images that are in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.data.writing import (
    DatasetPlan,
    MadeImages,
    ShardTask,
    shard_key,
    write_dataset,
)
from deepdepixelate.locations import Location
from deepdepixelate.parallel import LocalEngine


@dataclass(frozen=True)
class FromMemory:
    """Makes shards of ``per_shard`` images from an array, in batches of ``batch``."""

    pixels: NDArray[np.uint8]
    per_shard: int
    batch: int = 3

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        first = task.index * self.per_shard
        for start in range(0, len(task.names), self.batch):
            names = task.names[start : start + self.batch]
            end = first + start + len(names)
            yield MadeImages(names, self.pixels[first + start : end])


def plan_images(
    names: Sequence[str],
    pixels: NDArray[np.uint8],
    *,
    per_shard: int = 4,
    details: Mapping[str, Any] | None = None,
    **changed: Any,
) -> DatasetPlan:
    """A plan for these images, uint8 (N, H, W, C)."""
    tasks: list[ShardTask] = []
    for start in range(0, len(names), per_shard):
        chosen = tuple(names[start : start + per_shard])
        content = pixels[start : start + per_shard].tobytes().hex()
        key = shard_key(names=chosen, content=content, shape=list(pixels.shape[1:]))
        tasks.append(ShardTask(len(tasks), chosen, key))
    settings: dict[str, Any] = {
        "tasks": tasks,
        "make": FromMemory(pixels, per_shard),
        "shape": pixels.shape[1:],
        "details": dict(details or {}),
        "engine": LocalEngine(),
    }
    return DatasetPlan(**{**settings, **changed})


def store_images(
    directory: Location,
    names: Sequence[str],
    pixels: NDArray[np.uint8],
    *,
    split: str = "test",
    per_shard: int = 4,
    details: Mapping[str, Any] | None = None,
) -> ShardedImages:
    """Store images, uint8 (N, H, W, C), as shards."""
    plan = plan_images(names, pixels, per_shard=per_shard, details=details)
    write_dataset(directory, plan, split=split)
    return ShardedImages(directory)
