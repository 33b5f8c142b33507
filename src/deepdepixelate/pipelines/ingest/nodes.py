"""Nodes of the stage ``ingest``.

They import torch when they run: Kedro imports this module at every start.
"""

from typing import Any

from deepdepixelate.data.shards import ImageStream, ShardedImages
from deepdepixelate.data.sources import FaceSource
from deepdepixelate.parameters import IngestParameters


def store_faces(
    faces: FaceSource, parameters: IngestParameters
) -> tuple[ImageStream, ImageStream, ImageStream]:
    """Decode, check and crop the faces of each split: train, val and test, written as read."""
    from deepdepixelate.data import ingest as ingestion

    geometry = ingestion.FaceGeometry(
        parameters.width, parameters.height, parameters.crop_width, parameters.crop_height
    )
    streams = ingestion.ingest(
        faces,
        geometry,
        limit_per_split=parameters.limit_per_split,
        max_rejected_fraction=parameters.max_rejected_fraction,
    )
    return streams["train"], streams["val"], streams["test"]


def report_on_faces(
    train: ShardedImages, val: ShardedImages, test: ShardedImages
) -> dict[str, Any]:
    """Count what was stored, is missing, was rejected, or is in more than one split."""
    from deepdepixelate.data import ingest as ingestion

    return ingestion.report({"train": train, "val": val, "test": test})
