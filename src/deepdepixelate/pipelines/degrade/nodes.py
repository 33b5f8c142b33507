"""Nodes of the stage ``degrade``."""

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.shards import ImageStream, ShardedImages
from deepdepixelate.parameters import DegradeParameters


def shrink(hr: ShardedImages, parameters: DegradeParameters) -> ImageStream:
    """Make the LR images of one split, one to one with its HR images."""
    realistic = parameters.realistic if parameters.kind == "realistic" else None
    return degrade(hr, parameters.scale, realistic)
