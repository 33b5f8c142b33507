"""The stages ``pretrain`` and ``train_gan``: a node that trains, and one that plots its curves."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.training.nodes import plot_curves, train_srgan, train_srresnet


def create_pretrain() -> Pipeline:
    """Train and val pairs to SRResNet, and its curves."""
    return _create("pretrain", train_srresnet, [], ["srresnet"])


def create_train_gan() -> Pipeline:
    """Train and val pairs and SRResNet to SRGAN, and its curves."""
    return _create("train_gan", train_srgan, ["srresnet"], ["srgan", "discriminator"])


def _create(
    stage: str, train: Callable[..., Any], weights: list[str], outputs: list[str]
) -> Pipeline:
    """The pipeline of a stage that trains ``outputs``, from ``weights`` if there are any."""
    return Pipeline(
        [
            node(
                train,
                inputs=[
                    "hr_train",
                    "lr_train",
                    "hr_val",
                    "lr_val",
                    f"{stage}_checkpoints",
                    f"params:{stage}",
                    "params:training",
                    *weights,
                ],
                outputs=[*outputs, f"{stage}_history"],
                name=train.__name__,
            ),
            node(
                plot_curves,
                inputs=f"{stage}_history",
                outputs=f"{stage}_curves",
                name=plot_curves.__name__,
            ),
        ],
        namespace=stage,
        prefix_datasets_with_namespace=False,
        tags="training",
    )
