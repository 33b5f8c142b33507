"""The stage ``pretrain``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.pretrain.nodes import train_srresnet


def create_pipeline() -> Pipeline:
    """Train and val pairs to SRResNet."""
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
            )
        ],
        namespace="pretrain",
        prefix_datasets_with_namespace=False,
        tags="training",
    )
