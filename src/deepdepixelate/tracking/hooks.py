"""kedro-mlflow's hooks, called so that a run goes on without MLflow once it has begun."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from deepdepixelate.tracking.outbox import OUTBOX
from deepdepixelate.tracking.store import ProjectStore


class TrackingHooks:
    """The MLflow run: its beginning, parameters, tags, files and metrics, and how it ended.

    ``settings`` keeps Kedro from calling kedro-mlflow's hooks itself: an error of theirs would be
    the run's. The datasets of kedro-mlflow are saved without logging, for the same reason: what
    they would log is logged here when they were saved.
    """

    def __init__(self) -> None:
        self._dataset = ""
        self._project = Path()
        self._store = ProjectStore(self._project)
        self._logged: dict[str, Any] = {}

    def tracking_uri(self) -> str:
        """What ``conf/base/mlflow.yml`` asks for as ``${tracking_uri:}``."""
        return self._store.uri

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note which data this is; let kedro-mlflow set MLflow up, one process at a time."""
        self._dataset = context.config_loader["globals"]["dataset"]
        self._project = Path(context.project_path)
        self._store = ProjectStore(self._project)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not into the progress bars
        logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)  # see OUTBOX
        with self._store.setting_up():
            _theirs().after_context_created(context)

    @hook_impl
    def after_catalog_created(
        self,
        catalog: DataCatalog,
        conf_catalog: dict[str, Any],
        conf_creds: dict[str, Any],
        parameters: dict[str, Any],
        save_version: str,
        load_versions: dict[str, str],
    ) -> None:
        """Let kedro-mlflow name metrics after their datasets."""
        _theirs().after_catalog_created(
            catalog, conf_catalog, conf_creds, parameters, save_version, load_versions
        )

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Start the run, and tag it."""
        import mlflow

        with self._store.answering():
            _theirs().before_pipeline_run(run_params, pipeline, catalog)
            if mlflow.active_run() is not None:
                mlflow.set_tags(self._tags(run_params))
        self._logged = {
            name: dataset
            for name in pipeline.all_outputs()
            if getattr(dataset := catalog.get(name), "_logging_activated", False)
        }
        for dataset in self._logged.values():
            dataset._logging_activated = False

    def _tags(self, run_params: Mapping[str, Any]) -> dict[str, str]:
        from deepdepixelate.tracking.record import git_commit

        pipeline = "+".join(run_params.get("pipeline_names") or ["__default__"])
        commit = git_commit() or "unknown"
        chain = "whole chain" if pipeline == "__default__" else pipeline
        return {
            "mlflow.runName": f"{chain}, {self._dataset}",
            "mlflow.source.git.commit": commit,
            "git_commit": commit,
            "environment": run_params.get("env") or "local",
            "pipeline": pipeline,
            "dataset": self._dataset,
            "runner": _class_name(run_params["runner"]),
        }

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: DataCatalog, inputs: dict[str, Any], is_async: bool
    ) -> None:
        """Log the parameters of a node."""
        parameters = {name: each for name, each in inputs.items() if name.startswith("params:")}
        log = partial(_theirs().before_node_run, node, catalog, parameters, is_async)
        OUTBOX.send(f"the parameters of {node.name}", log)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log the file, or the metrics."""
        import mlflow

        dataset = self._logged.get(dataset_name)
        if dataset is None:
            return
        if hasattr(dataset, "artifact_path"):
            file, folder = Path(str(dataset._filepath)), dataset.artifact_path
            shown = file.relative_to(self._project) if file.is_relative_to(self._project) else file
            OUTBOX.send(f"the file {shown}", partial(mlflow.log_artifact, str(file), folder))
        else:
            OUTBOX.send(f"the metrics {dataset_name}", partial(_log_metrics, dataset, data))

    @hook_impl(tryfirst=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """End the run."""
        OUTBOX.conclude(
            _run_id(), partial(_theirs().after_pipeline_run, run_params, pipeline, catalog)
        )

    @hook_impl
    def on_pipeline_error(
        self,
        error: Exception,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: DataCatalog,
    ) -> None:
        """End the run as FAILED; as KILLED, if it was stopped."""
        import mlflow

        from deepdepixelate.training.interruption import InterruptionError

        run_id = _run_id()

        def end() -> None:
            _theirs().on_pipeline_error(error, run_params, pipeline, catalog)
            if isinstance(error, InterruptionError) and run_id:
                mlflow.MlflowClient().set_terminated(run_id, "KILLED")

        OUTBOX.conclude(run_id, end)


def _theirs() -> Any:
    from kedro_mlflow.framework.hooks import mlflow_hook

    return mlflow_hook


def _run_id() -> str:
    import mlflow

    run = mlflow.active_run()
    return "" if run is None else str(run.info.run_id)


def _log_metrics(dataset: Any, data: Any) -> None:
    dataset._logging_activated = True
    try:
        dataset.save(data)
    finally:
        dataset._logging_activated = False


def _class_name(description: str) -> str:
    """``SequentialRunner`` of ``<kedro.runner.….SequentialRunner object at 0x7f…>``."""
    return description.partition(" object at ")[0].rpartition(".")[2]
