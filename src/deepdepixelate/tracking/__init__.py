"""All of MLflow: the record of runs, their lineage, and models to serve."""
