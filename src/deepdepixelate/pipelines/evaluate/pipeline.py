"""The stage ``evaluate``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.evaluate.nodes import (
    draw_comparison,
    enlarge_faces,
    score_images,
    summarise_scores,
    write_report,
)

_IMAGES_AND_MODELS = ["hr_test", "lr_test", "srresnet", "srgan"]


def create_pipeline(*more: str) -> Pipeline:
    """Test pairs and generators to scores, the evaluation, the comparison and the report.

    Args:
        more: generators that are scored beside srresnet and srgan: none, or ``photo``.
    """
    return Pipeline(
        [
            node(
                score_images,
                inputs=[
                    *_IMAGES_AND_MODELS,
                    "params:evaluate",
                    "params:engine",
                    "params:ray",
                    *more,
                ],
                outputs=["scores", "spectra", "scoring_summary"],
                name="score_images",
            ),
            node(
                summarise_scores,
                inputs=["scores", "scoring_summary"],
                outputs=["evaluation", "evaluation_metrics"],
                name="summarise_scores",
            ),
            node(
                enlarge_faces,
                inputs=[*_IMAGES_AND_MODELS, "scores", "params:evaluate", *more],
                outputs=["comparison_faces", "report_faces"],
                name="enlarge_faces",
            ),
            node(
                draw_comparison,
                inputs=["comparison_faces", "scores"],
                outputs="comparison",
                name="draw_comparison",
            ),
            node(
                write_report,
                inputs=[
                    "evaluation",
                    "scores",
                    "spectra",
                    "pretrain_history",
                    "train_gan_history",
                    "report_faces",
                ],
                outputs="report",
                name="write_report",
            ),
        ],
        namespace="evaluate",
        prefix_datasets_with_namespace=False,
        tags="evaluation",
    )
