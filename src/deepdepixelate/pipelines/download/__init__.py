"""CelebA from the internet."""

from deepdepixelate.pipelines.download.pipeline import create_pipeline

__all__ = ["create_pipeline"]
