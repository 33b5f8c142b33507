"""Nodes of the stage ``degrade``.

They import torch when they run: Kedro imports this module at every start.
"""

from deepdepixelate.data.shards import ImageStream, ShardedImages
from deepdepixelate.parameters import DegradeParameters


def shrink(hr: ShardedImages, parameters: DegradeParameters) -> ImageStream:
    """Make the LR images of one split, one to one with its HR images."""
    from deepdepixelate.data import ingest as ingestion

    realistic = parameters.realistic if parameters.kind == "realistic" else None
    return ingestion.degrade(hr, parameters.scale, realistic)
