"""The stage ``pretrain``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.pretrain.nodes import plot_curves, train_srresnet


def create_pipeline() -> Pipeline:
    """Train and val pairs to SRResNet, and its curves."""
    return Pipeline(
        [
            node(
                train_srresnet,
                inputs=[
                    "hr_train",
                    "lr_train",
                    "hr_val",
                    "lr_val",
                    "pretrain_checkpoints",
                    "params:pretrain",
                    "params:training",
                ],
                outputs=["srresnet", "pretrain_history"],
                name="train_srresnet",
            ),
            node(
                plot_curves,
                inputs="pretrain_history",
                outputs="pretrain_curves",
                name="plot_curves",
            ),
        ],
        namespace="pretrain",
        prefix_datasets_with_namespace=False,
        tags="training",
    )
