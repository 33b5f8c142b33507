"""Enlarges a user's photographs; not part of the default pipeline."""

from deepdepixelate.pipelines.enhance.pipeline import create_pipeline

__all__ = ["create_pipeline"]
