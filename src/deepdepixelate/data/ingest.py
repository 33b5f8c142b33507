"""From encoded faces to streams of cropped pixels, and the account of what was left out."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import floor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from deepdepixelate.data.degradations import (
    Degradation,
    as_table,
    degrade_as_drawn,
    describe,
)
from deepdepixelate.data.resize import KERNEL, downscale
from deepdepixelate.data.shards import ImageBatch, ImageStream, ShardedImages
from deepdepixelate.data.sources import SPLITS, FaceSource, RejectedImageError, Split, decode
from deepdepixelate.errors import UserError
from deepdepixelate.parallel import map_in_order
from deepdepixelate.parameters.degrading import RealisticParameters

logger = logging.getLogger(__name__)

IMAGES_PER_TASK = 32


@dataclass(frozen=True)
class FaceGeometry:
    """Sizes in pixels: what an image must measure, and the centre crop that is kept of it."""

    width: int
    height: int
    crop_width: int
    crop_height: int

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The centre of an (H, W, 3) image; an odd pixel too many is cut at the right and below."""
        left = (self.width - self.crop_width) // 2
        top = (self.height - self.crop_height) // 2
        return image[top : top + self.crop_height, left : left + self.crop_width]


@dataclass
class _Rejections:
    """Images that could not be used, over all splits, with a limit to how many there may be."""

    limit: int
    count: int = 0

    def add(self, name: str, reason: str) -> None:
        self.count += 1
        if self.count > self.limit:
            raise UserError(
                f"{self.count} images cannot be used, more than ingest.max_rejected_fraction "
                f"allows ({self.limit} of this set); the last one: {name} ({reason}). Check the "
                "archive, or allow more: --params ingest.max_rejected_fraction=F."
            )


def ingest(
    source: FaceSource,
    geometry: FaceGeometry,
    *,
    limit_per_split: int | None,
    max_rejected_fraction: float,
) -> dict[Split, ImageStream]:
    """Prepare one stream of cropped HR images a split; nothing is read until they are written.

    Args:
        source: the encoded images.
        geometry: the size that they must have, and the crop.
        limit_per_split: take only so many images of each split, the first ones; None for all.
        max_rejected_fraction: of all images taken, the share that may be unusable, 0 to 1.

    Returns:
        Streams to be written one after another, in the order of the splits.

    Raises:
        UserError: a split has no image.
    """
    names = {split: list(source.splits[split])[:limit_per_split] for split in SPLITS}
    empty = [split for split in SPLITS if not names[split]]
    if empty:
        raise UserError(
            f"{source.origin.get('path') or 'the source'} has no image of the "
            f"{' and the '.join(empty)} split: training, validation and evaluation need all three."
        )
    if any(source.missing.values()) or source.unlisted:
        logger.warning(
            "%s holds part of the list; missing are %s; %d images are listed in no split",
            source.origin.get("path") or "The source",
            ", ".join(f"{source.missing[split]:,} of {split}" for split in SPLITS),
            source.unlisted,
        )
    total = sum(map(len, names.values()))
    rejections = _Rejections(limit=floor(max_rejected_fraction * total + 1e-9))
    return {
        split: _SplitReader(source, split, names[split], geometry, rejections).stream()
        for split in SPLITS
    }


@dataclass(frozen=True)
class _Decoded:
    """A group of images after decoding: those that are good, and the reasons against the others."""

    batch: ImageBatch
    content_hashes: list[str]
    rejected: list[dict[str, str]]


@dataclass
class _SplitReader:
    source: FaceSource
    split: Split
    names: Sequence[str]
    geometry: FaceGeometry
    rejections: _Rejections
    rejected: list[dict[str, str]] = field(default_factory=list)
    content_hashes: list[str] = field(default_factory=list)

    def stream(self) -> ImageStream:
        return ImageStream(batches=self._batches(), details=self._details)

    def _batches(self) -> Iterator[ImageBatch]:
        groups = (
            self.names[start : start + IMAGES_PER_TASK]
            for start in range(0, len(self.names), IMAGES_PER_TASK)
        )
        with tqdm(total=len(self.names), desc=f"ingest {self.split}", unit="image") as progress:
            for decoded in map_in_order(self._decode, groups):
                progress.update(len(decoded.batch.names) + len(decoded.rejected))
                self.rejected += decoded.rejected
                self.content_hashes += decoded.content_hashes
                for rejected in decoded.rejected:
                    self.rejections.add(**rejected)
                if decoded.batch.names:
                    yield decoded.batch

    def _decode(self, group: Sequence[str]) -> _Decoded:
        names: list[str] = []
        hashes: list[str] = []
        rejected: list[dict[str, str]] = []
        pixels = np.empty(
            (len(group), self.geometry.crop_height, self.geometry.crop_width, 3), np.uint8
        )
        for name in group:
            try:
                encoded = self.source.read(name)
                image = decode(encoded, self.geometry.width, self.geometry.height)
            except RejectedImageError as error:
                rejected.append({"name": name, "reason": str(error)})
                continue
            pixels[len(names)] = self.geometry.crop(image)
            names.append(name)
            hashes.append(hashlib.sha256(encoded).hexdigest())
        return _Decoded(ImageBatch(names, pixels[: len(names)]), hashes, rejected)

    def _details(self) -> Mapping[str, Any]:
        return {
            "origin": dict(self.source.origin),
            "missing": self.source.missing[self.split],
            "unlisted": self.source.unlisted,
            "crop": f"centre, {self.geometry.crop_width}x{self.geometry.crop_height}",
            "rejected": self.rejected,
            "content_sha256": self.content_hashes,
        }


def report(images: Mapping[Split, ShardedImages]) -> dict[str, Any]:
    """The account of an ingestion, for ``ingest_report.json``.

    Counts per split of what was stored, is missing and was rejected (by name and reason), images
    that are in more than one split by the hash of their encoded bytes, and where all came from.
    """
    details = {split: stored.manifest.details for split, stored in images.items()}
    places: dict[str, list[tuple[Split, str]]] = defaultdict(list)
    for split, stored in images.items():
        for name, content in zip(stored.names, details[split]["content_sha256"], strict=True):
            places[content].append((split, name))
    shared = [group for group in places.values() if len({split for split, _ in group}) > 1]
    return {
        "source": details["train"]["origin"],
        "images": {split: len(stored) for split, stored in images.items()},
        "missing": {split: details[split]["missing"] for split in images},
        "unlisted": details["train"]["unlisted"],
        "rejected": {split: details[split]["rejected"] for split in images},
        "duplicates_across_splits": [
            [{"split": split, "name": name} for split, name in group] for group in shared
        ],
        "digests": {split: stored.manifest.digest for split, stored in images.items()},
    }


@contextmanager
def _same_threads_afterwards() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def degrade(
    hr: ShardedImages,
    scale: int,
    realistic: RealisticParameters | None = None,
    workers: int | None = None,
) -> ImageStream:
    """Prepare the stream of LR images of a dataset, one to one and in its order.

    Args:
        hr: the originals.
        scale: how many times smaller LR is.
        realistic: what LR goes through; None for bicubic shrinking and nothing else.
        workers: threads, by default one for each processor; the images are the same for any number.
    """
    table: list[tuple[str, Degradation]] = []

    def shrink(batch: ImageBatch) -> tuple[ImageBatch, list[Degradation]]:
        torch.set_num_threads(1)  # of this worker: a batch each is faster than sharing every one
        if realistic is None:
            return ImageBatch(batch.names, downscale(batch.pixels, scale)), []
        made = [degrade_as_drawn(image, realistic, scale) for image in batch.pixels]
        pixels = np.stack([image for image, _ in made])
        return ImageBatch(batch.names, pixels), [degradation for _, degradation in made]

    def batches() -> Iterator[ImageBatch]:
        split = hr.manifest.split
        with (
            _same_threads_afterwards(),
            tqdm(total=len(hr), desc=f"degrade {split}", unit="image") as progress,
        ):
            for batch, drawn in map_in_order(shrink, hr.batches(IMAGES_PER_TASK), workers):
                table.extend(zip(batch.names, drawn, strict=False))
                yield batch
                progress.update(len(batch.names))

    kernel = {"kernel": KERNEL} if realistic is None else describe(realistic)
    details = {"source": hr.manifest.digest, "scale": scale, **kernel}
    return ImageStream(
        batches=batches(),
        details=lambda: details,
        table=lambda: as_table(table) if realistic else b"",
    )
