"""The stage ``verify``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.verify.nodes import report_damage, verify_shards


def create_pipeline() -> Pipeline:
    """A report on every shard, and an error if one is damaged."""
    return Pipeline(
        [
            node(
                verify_shards,
                inputs=["shards_folder", "params:engine", "params:ray"],
                outputs="verify_report",
                name="verify_shards",
            ),
            node(report_damage, inputs="verify_report", outputs=None, name="report_damage"),
        ],
        namespace="verify",
        prefix_datasets_with_namespace=False,
        tags="data",
    )
