"""Ingestion: decode, check and crop encoded faces, and report what was left out."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate.data.random_numbers import random_of
from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.data.sources import (
    SPLITS,
    EncodedImages,
    FaceSource,
    RejectedImageError,
    Split,
    decode_face,
)
from deepdepixelate.data.writing import DatasetPlan, MadeImages, ShardTask, shard_key
from deepdepixelate.errors import UserError
from deepdepixelate.parallel import LOCAL, Engine, map_in_order
from deepdepixelate.parameters import IngestParameters, TrainingCropParameters

logger = logging.getLogger(__name__)

_IMAGES_PER_BATCH = 32


def centre_crop(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Crop an (H, W, 3) image to its centre; an odd surplus is cut at the right and bottom."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def training_crop(
    image: NDArray[np.uint8], parameters: TrainingCropParameters
) -> NDArray[np.uint8]:
    """Shrink an image by a random factor, and cut a random square out of it.

    CelebA's faces all have one size. A generator that learned nothing else breaks smaller faces
    into pieces. ESRGAN and Real-ESRGAN (arXiv 2107.10833) train on shrunk images, too. The random
    numbers depend on the image's pixels alone.

    Args:
        image: uint8, shape (H, W, 3), RGB.
        parameters: range of the factors, and the crop's side.

    Returns:
        uint8, shape (side, side, 3).
    """
    random, side = random_of(image, 0), parameters.side
    if random.random() >= parameters.unchanged:
        factor = random.uniform(parameters.smallest, 1)
        height, width = (max(side, round(factor * length)) for length in image.shape[:2])
        shrunk = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
        image = np.asarray(shrunk)
    top, left = (int(random.integers(0, length - side + 1)) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def ingest(
    source: FaceSource, parameters: IngestParameters, engine: Engine = LOCAL
) -> dict[Split, DatasetPlan]:
    """Plan the HR shards of each split, from the names alone.

    Args:
        source: the encoded images.
        parameters: the fit, the crop, the limits, and the images per shard.
        engine: makes the shards.

    Returns:
        Plans to be carried out one after another, in the order of the splits.

    Raises:
        UserError: a split has no image; or, while a plan is carried out, too many images are
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
    whole = parameters.model_copy(update={"training_crops": None})
    settings: dict[Split, IngestParameters] = {"train": parameters, "val": whole, "test": whole}
    return {
        split: DatasetPlan(
            tasks=_tasks(source, names[split], settings[split]),
            make=_FaceMaker(source.images, settings[split]),
            shape=settings[split].training_shape,
            details={
                "origin": dict(source.origin),
                "missing": source.missing[split],
                "unlisted": source.unlisted,
                "crop": f"centre, {parameters.crop_width}x{parameters.crop_height}",
                **settings[split].model_dump(include={"training_crops"}, exclude_none=True),
            },
            engine=engine,
            check=limit.add_all,
            title=f"ingest {split}",
        )
        for split in SPLITS
    }


def _tasks(
    source: FaceSource, names: Sequence[str], parameters: IngestParameters
) -> list[ShardTask]:
    settings = parameters.model_dump(
        mode="json",
        exclude={"limit_per_split", "max_rejected_fraction", "images_per_shard", "split"},
        exclude_none=True,  # so whole images keep the keys that they had before there were crops
    )
    tasks: list[ShardTask] = []
    for start in range(0, len(names), parameters.images_per_shard):
        chosen = tuple(names[start : start + parameters.images_per_shard])
        stamps = [(name, source.images.stamp(name)) for name in chosen]
        key = shard_key(stage="ingest", settings=settings, images=stamps)
        tasks.append(ShardTask(len(tasks), chosen, key))
    return tasks


@dataclass
class _RejectionLimit:
    """Counts the unusable images of all splits."""

    limit: int
    total: int
    count: int = 0

    def add_all(self, details: Mapping[str, Sequence[Any]]) -> None:
        """Count the images that a shard rejected; UserError if there are more than ``limit``."""
        rejected = details["rejected"]
        self.count += len(rejected)
        if self.count > self.limit:
            name, reason = rejected[-1]["name"], rejected[-1]["reason"]
            raise UserError(
                f"{self.count} images cannot be used, more than ingest.max_rejected_fraction "
                f"allows ({self.limit} of {self.total:,}); the last one: {name} ({reason}). Check "
                "the images, or allow more: --params ingest.max_rejected_fraction=F."
            )


@dataclass(frozen=True)
class _FaceMaker:
    """Decodes and crops the images of a shard."""

    images: EncodedImages
    parameters: IngestParameters

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        starts = range(0, len(task.names), _IMAGES_PER_BATCH)
        batches = (task.names[start : start + _IMAGES_PER_BATCH] for start in starts)
        return map_in_order(self._decode, batches, threads)

    def _decode(self, names: Sequence[str]) -> MadeImages:
        """The usable images, the SHA-256 of their encoded bytes, and the unusable ones."""
        parameters = self.parameters
        pixels = np.empty((len(names), *parameters.training_shape), np.uint8)
        usable: list[str] = []
        hashes: list[str] = []
        rejected: list[dict[str, str]] = []
        for name in names:
            try:
                encoded = self.images.read(name)
                image = decode_face(encoded, parameters)
            except RejectedImageError as error:
                rejected.append({"name": name, "reason": str(error)})
                continue
            face = centre_crop(image, parameters.crop_width, parameters.crop_height)
            crops = parameters.training_crops
            pixels[len(usable)] = face if crops is None else training_crop(face, crops)
            usable.append(name)
            hashes.append(hashlib.sha256(encoded).hexdigest())
        lists: dict[str, list[Any]] = {"rejected": rejected, "content_sha256": hashes}
        return MadeImages(usable, pixels[: len(usable)], lists)


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
