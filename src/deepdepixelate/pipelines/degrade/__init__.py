"""LR shards from HR shards, by MATLAB's bicubic kernel or by realistic degradations."""

from deepdepixelate.pipelines.degrade.pipeline import create_pipeline

__all__ = ["create_pipeline"]
