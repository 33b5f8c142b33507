"""Nodes of the stage ``ingest``."""

from typing import Any

from deepdepixelate.data.ingest import ingest, report
from deepdepixelate.data.shards import ImageStream, ShardedImages
from deepdepixelate.data.sources import FaceSource
from deepdepixelate.parameters import IngestParameters


def store_faces(
    faces: FaceSource, parameters: IngestParameters
) -> tuple[ImageStream, ImageStream, ImageStream]:
    """Decode, check and crop the faces of the train, val and test split."""
    streams = ingest(faces, parameters)
    return streams["train"], streams["val"], streams["test"]


def report_on_faces(
    train: ShardedImages, val: ShardedImages, test: ShardedImages
) -> dict[str, Any]:
    """Count the images that were stored, missing or rejected, and list duplicates across splits."""
    return report({"train": train, "val": val, "test": test})
