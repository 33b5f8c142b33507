"""Nodes of the stage ``degrade``.

Kedro imports this module at every start, so torch is imported when a node runs.
"""

from deepdepixelate.data.shards import ImageStream, ShardedImages
from deepdepixelate.parameters import DegradeParameters


def shrink(hr: ShardedImages, parameters: DegradeParameters) -> ImageStream:
    """Make the LR images of one split, one to one with its HR images."""
    from deepdepixelate.data.degrade import degrade

    realistic = parameters.realistic if parameters.kind == "realistic" else None
    return degrade(hr, parameters.scale, realistic)
