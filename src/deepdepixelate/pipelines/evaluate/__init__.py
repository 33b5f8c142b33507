"""Scores on the test split: bicubic, SRResNet and SRGAN."""

from deepdepixelate.pipelines.evaluate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
