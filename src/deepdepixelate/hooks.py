"""What happens around a Kedro run: checks before it, a summary after it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from pydantic import BaseModel

from deepdepixelate.errors import UserError
from deepdepixelate.parameters import (
    EvaluateParameters,
    PretrainParameters,
    TrainGanParameters,
    check_parameters,
)


class ParameterHooks:
    """All parameters are checked as soon as they are known, whichever stage is to run."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Raise UserError that names every bad value and unknown key."""
        check_parameters(context.config_loader["parameters"])

    @hook_impl(tryfirst=True)
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Hand plain values to the hooks after this one.

        kedro-mlflow flattens dictionaries into ``pretrain.updates`` and the like but logs an object
        as one string. ``inputs`` is the hooks' own copy: the node still gets the objects.
        """
        for name, value in inputs.items():
            if isinstance(value, BaseModel):
                inputs[name] = value.model_dump(mode="json")


_MEASURING = {"params:pretrain", "params:train_gan", "params:evaluate"}
"""What the stages that score images take: trainings validate."""


class PreflightHooks:
    """What can be known to fail is told before the long work, not after."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Raise UserError where an input, a benchmark or weights that are needed are missing."""
        for name in sorted(pipeline.inputs()):
            if name.startswith("params:") or getattr(catalog.get(name), "optional", False):
                continue
            if not catalog.exists(name):
                raise UserError(_missing_input(name, catalog, run_params.get("env")))
        if not pipeline.inputs().isdisjoint(_MEASURING):
            from deepdepixelate.metrics.st_lpips import STLPIPS

            STLPIPS()
        if "params:pretrain" in pipeline.inputs():
            settings = catalog.load("params:pretrain")
            if isinstance(settings, PretrainParameters) and settings.start_from is not None:
                from deepdepixelate.models.pretrained import find_generator

                find_generator(settings.start_from)
        if "params:train_gan" in pipeline.inputs():
            settings = catalog.load("params:train_gan")
            if isinstance(settings, TrainGanParameters):
                from deepdepixelate.training.stages import content_network

                content_network(settings)
        if "params:evaluate" in pipeline.inputs():
            settings = catalog.load("params:evaluate")
            if isinstance(settings, EvaluateParameters):
                from deepdepixelate.evaluation.benchmarks import check_benchmarks
                from deepdepixelate.metrics.identity import find_identity

                check_benchmarks(settings.benchmarks)
                find_identity(settings.identity)

    @hook_impl(tryfirst=True)
    def before_node_run(self, is_async: bool) -> None:
        """Raise UserError where data would be saved on threads that know no MLflow run."""
        if is_async:
            raise UserError(
                "--async cannot be used here: an MLflow run belongs to one thread, and metrics "
                "saved on others would be lost. Run the same command without it."
            )


def _missing_input(name: str, catalog: DataCatalog, env: str | None) -> str:
    place = _path(catalog, name)
    where = f"{name} is not there" + (f" ({place})." if place else ".")
    makers = [
        stage
        for stage, pipeline in pipelines.items()
        if stage != "__default__" and name in pipeline.all_outputs()
    ]
    if not makers:
        return f"{where} Put it there, or change conf/*/catalog.yml."
    environment = f" --env {env}" if env and env != "local" else ""
    return f"{where} Run first: kedro run{environment} --pipeline {makers[0]}"


class SummaryHooks:
    """The last thing that a user sees: the table, and where everything is."""

    @hook_impl
    def after_pipeline_run(
        self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Print the comparison table, where there is one, and the paths of what was written."""
        from rich.console import Console

        console = Console()
        if "evaluation" in pipeline.all_outputs():
            for table in _tables(catalog.load("evaluation")):
                console.print(table)
        project = Path(run_params["project_path"])
        console.print("Written:")
        for name in sorted(pipeline.all_outputs()):
            if place := _path(catalog, name):
                shown = place.relative_to(project) if place.is_relative_to(project) else place
                console.print(f"  {name}: {shown}", highlight=False, soft_wrap=True)
        if "enhanced_photographs" in pipeline.outputs():  # paths that a user chose
            for path in catalog.load("enhanced_photographs"):
                console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def _tables(evaluation: Mapping[str, Any]) -> list[Any]:
    from rich.table import Table

    caption = (
        "± 95 % confidence; detail: high-frequency energy, of the original's; "
        "ST-LPIPS and identity: lower is better"
    )
    tables = []
    for set_name, of_set in evaluation["sets"].items():
        border = evaluation["protocol"]["border"]
        title = f"{set_name}: {of_set['images']} images, luma, border {border}"
        table = Table("model", title=title, caption=caption)
        shown = {
            "PSNR / dB": ("psnr_y", 2),
            "SSIM": ("ssim_y", 4),
            "detail": ("high_frequency_ratio", 2),
            "ST-LPIPS": ("st_lpips", 3),
        }
        if any(values.get("identity_distance") is not None for values in of_set["models"].values()):
            shown["identity"] = ("identity_distance", 3)
        for column in shown:
            table.add_column(column, justify="right")
        for model, values in of_set["models"].items():
            table.add_row(model, *(_figure(values, *metric) for metric in shown.values()))
        tables.append(table)
    return tables


def _figure(values: Mapping[str, Any], metric: str, digits: int) -> str:
    """An average with half the width of its confidence interval, if there are any."""
    value, interval = values.get(metric), values["ci95"].get(metric)
    if value is None:
        return "n/a"
    margin = "" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.{digits}f}"
    return f"{value:.{digits}f}{margin}"


def _path(catalog: DataCatalog, name: str) -> Path | None:
    """Where a dataset lies, if it lies in a file or folder."""
    path = getattr(catalog.get(name), "_filepath", None)
    return None if path is None else Path(str(path))
