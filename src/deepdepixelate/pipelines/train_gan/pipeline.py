"""The stage ``train_gan``."""

from kedro.pipeline import Pipeline, node

from deepdepixelate.pipelines.train_gan.nodes import plot_curves, train_srgan


def create_pipeline() -> Pipeline:
    """Train and val pairs and SRResNet to SRGAN, and its curves."""
    return Pipeline(
        [
            node(
                train_srgan,
                inputs=[
                    "hr_train",
                    "lr_train",
                    "hr_val",
                    "lr_val",
                    "srresnet",
                    "train_gan_checkpoints",
                    "params:train_gan",
                    "params:training",
                ],
                outputs=["srgan", "discriminator", "train_gan_history"],
                name="train_srgan",
            ),
            node(
                plot_curves,
                inputs="train_gan_history",
                outputs="train_gan_curves",
                name="plot_curves",
            ),
        ],
        namespace="train_gan",
        prefix_datasets_with_namespace=False,
        tags="training",
    )
