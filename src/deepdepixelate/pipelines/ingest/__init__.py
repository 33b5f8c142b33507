"""Ingestion of the archive: HR shards and a report of what was left out."""

from deepdepixelate.pipelines.ingest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
