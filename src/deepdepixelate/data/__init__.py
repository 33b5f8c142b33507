"""Face images on disk: sources, ingestion, LR, shards. Imports no Kedro and no MLflow."""
