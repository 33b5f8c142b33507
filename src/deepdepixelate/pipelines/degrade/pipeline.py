"""The stage ``degrade``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.data.sources import SPLITS
from deepdepixelate.pipelines.degrade.nodes import shrink


def create_pipeline() -> Pipeline:
    """LR shards of each split from its HR shards."""
    return Pipeline(
        [
            node(
                shrink,
                inputs=[f"hr_{split}", "params:degrade", "params:engine", "params:ray"],
                outputs=f"lr_{split}",
                name=f"shrink_{split}",
            )
            for split in SPLITS
        ],
        namespace="degrade",
        prefix_datasets_with_namespace=False,
        tags="data",
    )
