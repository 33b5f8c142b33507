"""The stage ``download``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.download.nodes import download_celeba


def create_pipeline() -> Pipeline:
    """CelebA's files, and a report on them."""
    return Pipeline(
        [
            node(
                download_celeba,
                inputs=["celeba_folder", "params:download"],
                outputs="download_report",
                name="download_celeba",
            )
        ],
        namespace="download",
        prefix_datasets_with_namespace=False,
        tags="data",
    )
