"""The stage ``enhance``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.enhance.nodes import enhance_photographs


def create_pipeline() -> Pipeline:
    """A user's photographs to enlarged ones."""
    return Pipeline(
        [
            node(
                enhance_photographs,
                inputs=["params:enhance", "params:engine", "params:ray"],
                outputs="enhanced_photographs",
                name="enhance_photographs",
            )
        ],
        namespace="enhance",
        prefix_datasets_with_namespace=False,
        tags="enhancing",
    )
