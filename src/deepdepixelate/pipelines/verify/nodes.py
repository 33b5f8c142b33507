"""Nodes of the stage ``verify``."""

import logging
from collections.abc import Mapping
from typing import Any

from deepdepixelate.data.verify import require_intact, verify
from deepdepixelate.locations import Location
from deepdepixelate.parallel import find_engine
from deepdepixelate.parameters import RayParameters

logger = logging.getLogger(__name__)


def verify_shards(folder: Location, engine: str, ray: RayParameters) -> dict[str, Any]:
    """Compare every shard with its manifest."""
    return verify(folder, find_engine(engine, ray.address))


def report_damage(report: Mapping[str, Any]) -> None:
    """Stop with an error that names every damaged shard, if there is one."""
    require_intact(report)
    logger.info("all %d shards are intact", sum(found["shards"] for found in report.values()))
