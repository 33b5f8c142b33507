"""LR images of a dataset: bicubic, or realistic with a degradation drawn for each image."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from deepdepixelate.data import storage
from deepdepixelate.data.realistic import degrade_realistically
from deepdepixelate.data.resize import KERNEL, downscale
from deepdepixelate.data.shards import ImageBatch, ShardedImages, read_shard
from deepdepixelate.data.writing import ROWS, DatasetPlan, MadeImages, ShardTask, shard_key
from deepdepixelate.locations import Location
from deepdepixelate.parallel import LOCAL, Engine, map_in_order
from deepdepixelate.parameters.degrading import RealisticParameters

_IMAGES_PER_BATCH = 32


def degrade(
    hr: ShardedImages,
    scale: int,
    realistic: RealisticParameters | None = None,
    engine: Engine = LOCAL,
) -> DatasetPlan:
    """Plan the LR shards of a dataset, one for each HR shard, with its images in its order.

    Args:
        hr: the HR images.
        scale: how many times smaller LR is.
        realistic: parameters of realistic LR; None for bicubic LR.
        engine: makes the shards; the images do not depend on it.
    """
    kernel = {"kernel": KERNEL} if realistic is None else _describe(realistic)
    height, width, channels = hr.manifest.shape
    return DatasetPlan(
        tasks=[
            ShardTask(
                index,
                names := hr.shard_names(index),
                shard_key(stage="degrade", hr=shard.sha256, names=names, scale=scale, **kernel),
            )
            for index, shard in enumerate(hr.manifest.shards)
        ],
        make=_Shrinker(
            tuple(storage.absolute(hr.directory) / shard.file for shard in hr.manifest.shards),
            tuple(shard.sha256 for shard in hr.manifest.shards),
            hr.manifest.shape,
            scale,
            realistic,
        ),
        shape=(height // scale, width // scale, channels),
        details={"source": hr.manifest.digest, "scale": scale, **kernel},
        engine=engine,
        title=f"degrade {hr.manifest.split}",
    )


@dataclass(frozen=True)
class _Shrinker:
    """Makes the LR images of an HR shard; UserError if that is damaged.

    Attributes:
        hr: the HR shards.
        hashes: SHA-256 of each.
        shape: of an HR image, (H, W, C).
        scale: how many times smaller LR is.
        realistic: parameters of realistic LR; None for bicubic LR.
    """

    hr: tuple[Location, ...]
    hashes: tuple[str, ...]
    shape: tuple[int, int, int]
    scale: int
    realistic: RealisticParameters | None

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        before = torch.get_num_threads()
        try:
            hr, sha256 = self.hr[task.index], self.hashes[task.index]
            batches = read_shard(hr, task.names, self.shape, _IMAGES_PER_BATCH, sha256=sha256)
            yield from map_in_order(self._shrink, batches, threads)
        finally:
            torch.set_num_threads(before)

    def _shrink(self, batch: ImageBatch) -> MadeImages:
        torch.set_num_threads(1)  # one batch per worker is faster than all workers on each batch
        if self.realistic is None:
            return MadeImages(batch.names, downscale(batch.pixels, self.scale))
        made = [degrade_realistically(image, self.realistic, self.scale) for image in batch.pixels]
        rows = [
            {"name": name, **asdict(degradation)}
            for name, (_, degradation) in zip(batch.names, made, strict=True)
        ]
        return MadeImages(batch.names, np.stack([image for image, _ in made]), {ROWS: rows})


def _describe(parameters: RealisticParameters) -> dict[str, Any]:
    """The manifest's description of realistic LR: the kernel in words, and all parameters."""
    kernel = (
        "realistic, drawn for each image: blur, one of several ways to shrink, noise, JPEG"
        f"{', enlarging' if parameters.enlarged else ''} (after arXiv 2107.10833, section 3); "
        f"{100 * parameters.clean:g}% of images clean: {KERNEL}"
    )
    values = parameters.model_dump(mode="json", exclude_none=True)  # null came later: older shards
    return {"kernel": kernel, "kind": "realistic", "realistic": values}
