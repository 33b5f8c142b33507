"""LR images of a dataset: bicubic, or realistic with a degradation drawn for each image."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from deepdepixelate.data.realistic import degrade_realistically
from deepdepixelate.data.resize import KERNEL, downscale
from deepdepixelate.data.shards import ImageBatch, ImageStream, ShardedImages
from deepdepixelate.parallel import map_in_order
from deepdepixelate.parameters.degrading import RealisticParameters

_IMAGES_PER_TASK = 32


def degrade(
    hr: ShardedImages,
    scale: int,
    realistic: RealisticParameters | None = None,
    workers: int | None = None,
) -> ImageStream:
    """Prepare the stream of LR images of a dataset, one to one and in its order.

    Args:
        hr: the HR images.
        scale: how many times smaller LR is.
        realistic: parameters of realistic LR; None for bicubic LR.
        workers: threads, by default one per processor; the images do not depend on it.
    """
    table: list[dict[str, Any]] = []

    def shrink(batch: ImageBatch) -> tuple[ImageBatch, list[dict[str, Any]]]:
        torch.set_num_threads(1)  # one batch per worker is faster than all workers on each batch
        if realistic is None:
            return ImageBatch(batch.names, downscale(batch.pixels, scale)), []
        made = [degrade_realistically(image, realistic, scale) for image in batch.pixels]
        rows = [
            {"name": name, **asdict(degradation)}
            for name, (_, degradation) in zip(batch.names, made, strict=True)
        ]
        return ImageBatch(batch.names, np.stack([image for image, _ in made])), rows

    def batches() -> Iterator[ImageBatch]:
        threads = torch.get_num_threads()
        try:
            with tqdm(total=len(hr), desc=f"degrade {hr.manifest.split}", unit="image") as progress:
                for batch, rows in map_in_order(shrink, hr.batches(_IMAGES_PER_TASK), workers):
                    table.extend(rows)
                    yield batch
                    progress.update(len(batch.names))
        finally:
            torch.set_num_threads(threads)

    kernel = {"kernel": KERNEL} if realistic is None else _describe(realistic)
    details = {"source": hr.manifest.digest, "scale": scale, **kernel}
    return ImageStream(batches(), details=lambda: details, table=lambda: _as_csv(table))


def _describe(parameters: RealisticParameters) -> dict[str, Any]:
    """The manifest's description of realistic LR: the kernel in words, and all parameters."""
    kernel = (
        "realistic, drawn for each image: blur, one of several ways to shrink, noise, JPEG (after "
        f"arXiv 2107.10833, section 3); {100 * parameters.clean:g}% of images clean: {KERNEL}"
    )
    return {"kernel": kernel, "kind": "realistic", "realistic": parameters.model_dump(mode="json")}


def _as_csv(rows: list[dict[str, Any]]) -> bytes:
    """A CSV file with one row per image, numbers to six digits; empty if there are no rows."""
    if not rows:
        return b""
    text: str = pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text.encode()
