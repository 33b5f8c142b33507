"""Adversarial training of the generator: SRGAN."""

from deepdepixelate.pipelines.train_gan.pipeline import create_pipeline

__all__ = ["create_pipeline"]
