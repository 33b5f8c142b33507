"""Enlarges a user's photographs; no part of the default chain."""

from deepdepixelate.pipelines.enhance.pipeline import create_pipeline

__all__ = ["create_pipeline"]
