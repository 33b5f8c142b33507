"""MSE-only training of the generator: SRResNet."""

from deepdepixelate.pipelines.pretrain.pipeline import create_pipeline

__all__ = ["create_pipeline"]
