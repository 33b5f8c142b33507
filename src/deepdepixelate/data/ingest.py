"""Ingestion: decode, check and crop encoded faces, and report what was left out."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deepdepixelate.data.shards import ImageBatch, ImageStream, ShardedImages
from deepdepixelate.data.sources import SPLITS, FaceSource, RejectedImageError, Split, decode_face
from deepdepixelate.errors import UserError
from deepdepixelate.parallel import map_in_order
from deepdepixelate.parameters import IngestParameters

logger = logging.getLogger(__name__)

_IMAGES_PER_TASK = 32


def centre_crop(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Crop an (H, W, 3) image to its centre; an odd surplus is cut at the right and bottom."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def ingest(source: FaceSource, parameters: IngestParameters) -> dict[Split, ImageStream]:
    """Prepare a stream of cropped HR images for each split; images are read as it is written.

    Args:
        source: the encoded images.
        parameters: the fit, the crop, and the limits.

    Returns:
        Streams to be written one after another, in the order of the splits.

    Raises:
        UserError: a split has no image; or, while a stream is written, too many images are
            unusable.
    """
    place = source.origin.get("path")
    names = {split: source.splits[split][: parameters.limit_per_split] for split in SPLITS}
    if empty := [split for split in SPLITS if not names[split]]:
        raise UserError(
            f"{place or 'the source'} has no image of the {' and the '.join(empty)} split: "
            "training, validation and evaluation need all three."
        )
    if any(source.missing.values()) or source.unlisted:
        logger.warning(
            "%s holds part of the list: missing are %s; %d images are listed in no split",
            place or "The source",
            ", ".join(f"{source.missing[split]:,} of {split}" for split in SPLITS),
            source.unlisted,
        )
    total = sum(map(len, names.values()))
    limit = _RejectionLimit(floor(parameters.max_rejected_fraction * total + 1e-9), total)
    return {split: _stream(source, split, names[split], parameters, limit) for split in SPLITS}


@dataclass
class _RejectionLimit:
    """Counts the unusable images of all splits."""

    limit: int
    total: int
    count: int = 0

    def add(self, name: str, reason: str) -> None:
        """Count an image; UserError if there are more than ``limit``."""
        self.count += 1
        if self.count > self.limit:
            raise UserError(
                f"{self.count} images cannot be used, more than ingest.max_rejected_fraction "
                f"allows ({self.limit} of {self.total:,}); the last one: {name} ({reason}). Check "
                "the images, or allow more: --params ingest.max_rejected_fraction=F."
            )


def _stream(
    source: FaceSource,
    split: Split,
    names: Sequence[str],
    parameters: IngestParameters,
    limit: _RejectionLimit,
) -> ImageStream:
    hashes: list[str] = []
    rejected: list[dict[str, str]] = []

    def batches() -> Iterator[ImageBatch]:
        starts = range(0, len(names), _IMAGES_PER_TASK)
        tasks = (names[start : start + _IMAGES_PER_TASK] for start in starts)
        decode_task = partial(_decode_batch, source, parameters)
        with tqdm(total=len(names), desc=f"ingest {split}", unit="image") as progress:
            for batch, batch_hashes, failures in map_in_order(decode_task, tasks):
                progress.update(len(batch.names) + len(failures))
                hashes.extend(batch_hashes)
                rejected.extend(failures)
                for failure in failures:
                    limit.add(**failure)
                yield batch

    def details() -> Mapping[str, Any]:
        return {
            "origin": dict(source.origin),
            "missing": source.missing[split],
            "unlisted": source.unlisted,
            "crop": f"centre, {parameters.crop_width}x{parameters.crop_height}",
            "rejected": rejected,
            "content_sha256": hashes,
        }

    return ImageStream(batches(), details)


def _decode_batch(
    source: FaceSource, parameters: IngestParameters, names: Sequence[str]
) -> tuple[ImageBatch, list[str], list[dict[str, str]]]:
    """Decode and crop images.

    Returns:
        The usable images, the SHA-256 of their encoded bytes, and the name of each unusable image
        with the reason.
    """
    pixels = np.empty((len(names), parameters.crop_height, parameters.crop_width, 3), np.uint8)
    usable: list[str] = []
    hashes: list[str] = []
    failures: list[dict[str, str]] = []
    for name in names:
        try:
            encoded = source.images.read(name)
            image = decode_face(encoded, parameters)
        except RejectedImageError as error:
            failures.append({"name": name, "reason": str(error)})
            continue
        pixels[len(usable)] = centre_crop(image, parameters.crop_width, parameters.crop_height)
        usable.append(name)
        hashes.append(hashlib.sha256(encoded).hexdigest())
    return ImageBatch(usable, pixels[: len(usable)]), hashes, failures


def report(images: Mapping[Split, ShardedImages]) -> dict[str, Any]:
    """Summarise an ingestion, for ``ingest_report.json``.

    Returns:
        Per split the number of images stored and missing, and the rejected ones with the reason;
        groups of images of equal content (by the hash of the encoded bytes) that are in more than
        one split; the source; and the digests of the shards.
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
