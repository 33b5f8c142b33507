"""Nodes of the stage ``degrade``.

Kedro imports this module at every start, so torch is imported when a node runs.
"""

from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.data.writing import DatasetPlan
from deepdepixelate.parallel import find_engine
from deepdepixelate.parameters import DegradeParameters, RayParameters


def shrink(
    hr: ShardedImages, parameters: DegradeParameters, engine: str, ray: RayParameters
) -> DatasetPlan:
    """Plan the LR shards of one split; saving the plan makes them."""
    from deepdepixelate.data.degrade import degrade

    realistic = parameters.realistic if parameters.kind == "realistic" else None
    return degrade(hr, parameters.scale, realistic, find_engine(engine, ray.address))
