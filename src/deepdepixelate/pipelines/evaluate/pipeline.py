"""The stage ``evaluate``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.evaluate.nodes import (
    draw_comparison,
    score_test_faces,
    summarise_scores,
)


def create_pipeline() -> Pipeline:
    """Test pairs and both generators to scores, the evaluation and the comparison picture."""
    return Pipeline(
        [
            node(
                score_test_faces,
                inputs=["hr_test", "lr_test", "srresnet", "srgan", "params:evaluate"],
                outputs="scores",
                name="score_test_faces",
            ),
            node(
                summarise_scores,
                inputs=["scores", "hr_test", "lr_test", "srresnet", "srgan", "params:evaluate"],
                outputs=["evaluation", "evaluation_metrics"],
                name="summarise_scores",
            ),
            node(
                draw_comparison,
                inputs=["hr_test", "lr_test", "srresnet", "srgan", "scores", "params:evaluate"],
                outputs="comparison",
                name="draw_comparison",
            ),
        ],
        namespace="evaluate",
        prefix_datasets_with_namespace=False,
        tags="evaluation",
    )
