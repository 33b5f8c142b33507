"""Comparison of all shards with their manifests."""

from deepdepixelate.pipelines.verify.pipeline import create_pipeline

__all__ = ["create_pipeline"]
