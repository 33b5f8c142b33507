"""Hooks of a Kedro run: checks before it, a summary after it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from deepdepixelate.errors import UserError
from deepdepixelate.parameters import Parameters, check_parameters


class CheckHooks:
    """Checks before a run: all parameters, and the inputs and weights that it needs."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Raise UserError that names every bad value and unknown parameter, of all stages."""
        self._parameters = check_parameters(context.config_loader["parameters"])

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Raise UserError if an input, a benchmark or required weights are missing."""
        inputs = pipeline.inputs()
        for name in sorted(inputs):
            if name.startswith("params:") or getattr(catalog.get(name), "optional", False):
                continue
            if not catalog.exists(name):
                raise UserError(_missing_input(name, catalog, run_params.get("env")))
            if check := getattr(catalog.get(name), "check", None):
                check()
        stages = {name.removeprefix("params:") for name in inputs if name.startswith("params:")}
        if stages & {"pretrain", "train_gan", "evaluate"}:
            _check_stages(stages, self._parameters)


def _check_stages(stages: set[str], parameters: Parameters) -> None:
    """Check devices, weights and benchmarks; the content loss comes last, as it may download."""
    from deepdepixelate.metrics.st_lpips import STLPIPS
    from deepdepixelate.models.device import choose_compute, find_device
    from deepdepixelate.training.launch import count_devices

    STLPIPS()  # validation and evaluation measure it
    if "evaluate" in stages:
        from deepdepixelate.evaluation.benchmarks import check_benchmarks
        from deepdepixelate.metrics.identity import find_identity

        find_device(parameters.evaluate.device)
        check_benchmarks(parameters.evaluate.benchmarks)
        find_identity(parameters.evaluate.identity)
    if "training" in stages:
        training = parameters.training
        count_devices(training)
        choose_compute(training.device, training.precision, deterministic=training.deterministic)
    if "pretrain" in stages and (model := parameters.pretrain.start_from):
        from deepdepixelate.models.pretrained import find_generator

        find_generator(model)
    if "train_gan" in stages:
        from deepdepixelate.training.stages import content_network

        content_network(parameters.train_gan)


def _missing_input(name: str, catalog: DataCatalog, env: str | None) -> str:
    path = _path(catalog, name)
    missing = f"{name} does not exist" + (f" ({path})" if path else "")
    makers = [
        stage
        for stage, pipeline in pipelines.items()
        if stage != "__default__" and name in pipeline.all_outputs()
    ]
    if not makers:
        return f"{missing}: provide it, or change conf/*/catalog.yml."
    environment = f" --env {env}" if env and env != "local" else ""
    return f"{missing}; run first: kedro run{environment} --pipeline {makers[0]}"


class SummaryHooks:
    """Prints the scores and the paths of all results."""

    @hook_impl
    def after_pipeline_run(
        self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Print the table of scores, if there is one, and the paths of the results."""
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
        if "enhanced_photographs" in pipeline.outputs():  # not in the catalogue
            for path in catalog.load("enhanced_photographs"):
                console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def _tables(evaluation: Mapping[str, Any]) -> list[Any]:
    from rich.table import Table

    from deepdepixelate.evaluation.formatting import METRICS, measured

    border = evaluation["protocol"]["border"]
    tables = []
    for set_name, of_set in evaluation["sets"].items():
        shown = [metric for metric in measured(of_set["models"]) if metric != "identity_lost"]
        table = Table(
            "model",
            title=f"{set_name}: {of_set['images']} images, luma, border {border}",
            caption="± 95 % confidence interval; detail: high-frequency energy, share of the "
            "original's; ST-LPIPS and identity: lower is better",
        )
        for metric in shown:
            table.add_column(METRICS[metric].column, justify="right")
        for model, values in of_set["models"].items():
            intervals = values["ci95"]
            table.add_row(
                model,
                *(
                    METRICS[metric].with_margin(values.get(metric), intervals.get(metric))
                    for metric in shown
                ),
            )
        tables.append(table)
    return tables


def _path(catalog: DataCatalog, name: str) -> Path | None:
    """The path of a dataset that is a file or folder."""
    path = getattr(catalog.get(name), "_filepath", None)
    return None if path is None else Path(str(path))
