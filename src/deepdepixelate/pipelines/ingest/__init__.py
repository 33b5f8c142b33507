"""From the archive to HR shards and the account of what was left out."""

from deepdepixelate.pipelines.ingest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
