"""The stage ``ingest``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.ingest.nodes import report_on_faces, store_faces


def create_pipeline() -> Pipeline:
    """HR shards of each split from the faces, and the ingestion report."""
    return Pipeline(
        [
            node(
                store_faces,
                inputs=["faces", "params:ingest", "params:engine", "params:ray"],
                outputs=["hr_train", "hr_val", "hr_test"],
                name="store_faces",
            ),
            node(
                report_on_faces,
                inputs=["hr_train", "hr_val", "hr_test"],
                outputs="ingest_report",
                name="report_on_faces",
            ),
        ],
        namespace="ingest",
        prefix_datasets_with_namespace=False,
        tags="data",
    )
