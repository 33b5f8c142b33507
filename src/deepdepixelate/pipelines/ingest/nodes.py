"""Nodes of the stage ``ingest``."""

from typing import Any

from deepdepixelate.data.ingest import ingest, report
from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.data.sources import FaceSource
from deepdepixelate.data.writing import DatasetPlan
from deepdepixelate.parallel import find_engine
from deepdepixelate.parameters import IngestParameters, RayParameters


def store_faces(
    faces: FaceSource, parameters: IngestParameters, engine: str, ray: RayParameters
) -> tuple[DatasetPlan, DatasetPlan, DatasetPlan]:
    """Plan the HR shards of the train, val and test split; saving a plan makes them."""
    plans = ingest(faces, parameters, find_engine(engine, ray.address))
    return plans["train"], plans["val"], plans["test"]


def report_on_faces(
    train: ShardedImages, val: ShardedImages, test: ShardedImages
) -> dict[str, Any]:
    """Count the images that were stored, missing or rejected, and list duplicates across splits."""
    return report({"train": train, "val": val, "test": test})
