"""What ``kedro run`` prints: one line per node; then the scores, where to look and what to do next.

Kedro imports this module at every start, so rich and pandas are imported by the functions.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from deepdepixelate.locations import Location, location
from deepdepixelate.tracking.store import describe_active_run

logger = logging.getLogger(__name__)

_EVALUATIONS = ("evaluation", "packaged_evaluation", "registered_evaluation")
_REPORTS = ("report", "packaged_report", "registered_report")
_RESULTS = (*_REPORTS, "srgan", "srresnet", "lr_train", "ingest_report")
"""Outputs from the most to the least interesting; the first one that was written is printed."""

_GANS = ("srgan", "photo")
"""Generators whose PSNR is expected to be below bicubic's."""

_CHAIN = ("ingest", "degrade", "pretrain", "train_gan", "evaluate")


class SummaryHooks:
    """Logs each node, and prints the summary of a run."""

    def __init__(self) -> None:
        self._nodes = self._started = 0
        self._mlflow: str | None = None

    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Note the number of nodes, and the MLflow run, which is closed before the summary."""
        self._nodes, self._started = len(pipeline.nodes), 0
        self._mlflow = describe_active_run()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Log the node's number and name."""
        self._started += 1
        logger.info("%d/%d %s", self._started, self._nodes, node.name)

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Name the node in the traceback."""
        error.add_note(f"This happened in the node {node.name}.")

    @hook_impl
    def after_pipeline_run(
        self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Print the scores, if any; the main result; the MLflow run; and the next step."""
        from rich.console import Console

        console = Console()
        outputs = pipeline.all_outputs()
        for name in sorted(outputs):
            if path := path_of(catalog, name):
                logger.debug("%s: %s", name, path)
        for name in outputs.intersection(_EVALUATIONS):
            evaluation = catalog.load(name)
            for table in _tables(evaluation):
                console.print(table)
            for remark in compare_with_bicubic(evaluation, packaged=name == "packaged_evaluation"):
                console.print(remark, highlight=False, markup=False, soft_wrap=True)
        skipped = self._nodes - self._started
        project = Path(run_params["project_path"])
        lines = [
            f"Skipped: {skipped} of {self._nodes} nodes, whose outputs exist" if skipped else None,
            _result(pipeline, catalog, project),
            f"MLflow: {self._mlflow}" if self._mlflow else None,
            f"Next: {_next_step(pipeline, catalog, run_params, project)}",
        ]
        for line in filter(None, lines):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def environment_option(env: str | None) -> str:
    """The option ``--env`` of a command, with a blank before it; empty for the default."""
    return f" --env {env}" if env and env != "local" else ""


def path_of(catalog: DataCatalog, name: str) -> Location | None:
    """The path or URL of a dataset that is a file or folder."""
    path = getattr(catalog.get(name), "_filepath", None)
    return None if path is None else location(path)


def compare_with_bicubic(evaluation: Mapping[str, Any], *, packaged: bool) -> Iterator[str]:
    """One sentence for each generator whose PSNR on the test split is below bicubic's."""
    models = evaluation["sets"]["test"]["models"]
    bicubic = models["bicubic"]
    behind: dict[str, float] = {}
    for name, values in models.items():
        if None in (values["psnr_y"], bicubic["psnr_y"]):
            continue
        behind[name] = bicubic["psnr_y"] - values["psnr_y"]
        if behind[name] < 0.05:
            continue
        remark = f"{name} is {behind[name]:.1f} dB below bicubic"
        distance, of_bicubic = values.get("st_lpips"), bicubic.get("st_lpips")
        if name in _GANS and None not in (distance, of_bicubic):
            figures = f"{distance:.3f}, bicubic {of_bicubic:.3f}; lower is better"
            if distance < of_bicubic:
                yield f"{remark}, which is normal for a GAN: its ST-LPIPS is better ({figures})."
                continue
            remark += f", and its ST-LPIPS is no better ({figures})"
        if packaged:
            yield f"{remark}: the test images differ from its training images."
            continue
        if name == "srgan" and behind.get("srresnet", 0) >= 0.05:
            yield f"{remark}: it starts from srresnet; improve that first."
            continue
        stage = "train_gan" if name == "srgan" else "pretrain"
        trained = evaluation["provenance"]["weights"].get(name, {}).get("fingerprint", {})
        updates = trained.get("settings", {}).get("updates")
        few = "it was trained too little" if updates is None else f"{updates:,} updates are too few"
        yield f"{remark}: {few}; raise {stage}.updates."


def _tables(evaluation: Mapping[str, Any]) -> list[Any]:
    from rich.table import Table

    from deepdepixelate.evaluation.formatting import METRICS, measured, split_sets

    border = evaluation["protocol"]["border"]
    tables = []
    sets, degraded = split_sets(evaluation)
    for set_name, of_set in sets.items():
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
    return [*tables, _degraded_table(degraded)] if degraded else tables


def _degraded_table(sets: Mapping[str, Any]) -> Any:
    """The means of the degraded sets: per metric one row per set, and one column per model."""
    from rich.table import Table

    from deepdepixelate.evaluation.formatting import METRICS, compact_metrics

    images = max(of_set["images"] for of_set in sets.values())
    models = {name: of_set["models"] for name, of_set in sets.items()}
    table = Table(
        "set",
        title=f"degraded sets: {images} images each",
        caption="ST-LPIPS and identity: lower is better",
    )
    for model in next(iter(models.values())):
        table.add_column(model, justify="right")
    for metric in compact_metrics(sets):
        table.add_section()
        table.add_row(METRICS[metric].column, style="bold")
        for name, each in models.items():
            means = [METRICS[metric].number(values.get(metric)) for values in each.values()]
            table.add_row(f"  {name}", *means)
    return table


def _shown(catalog: DataCatalog, name: str, project: Path) -> Location | None:
    """The path of a dataset, relative to the project if it is in there."""
    path = path_of(catalog, name)
    if isinstance(path, Path) and path.is_relative_to(project):
        return path.relative_to(project)
    return path


def _result(pipeline: Pipeline, catalog: DataCatalog, project: Path) -> str | None:
    """The main output with its path."""
    if "enhanced_photographs" in pipeline.outputs():  # not in the catalogue
        paths = catalog.load("enhanced_photographs")
        if len(paths) == 1:
            return f"Written: {paths[0]}"
        return f"Written: {len(paths)} photographs, the last one to {paths[-1]}" if paths else None
    outputs = pipeline.all_outputs()
    for name in (*_RESULTS, *sorted(outputs)):
        if name in outputs and (shown := _shown(catalog, name, project)):
            return f"{'Report' if name in _REPORTS else 'Written'}: {shown}"
    return None


def _next_step(
    pipeline: Pipeline, catalog: DataCatalog, run_params: Mapping[str, Any], project: Path
) -> str:
    """The command that continues from this run."""
    outputs = pipeline.all_outputs()
    if "enhanced_photographs" in outputs:
        return "deepdepixelate demo (a page that shows photographs before and after)"
    others = " (and your --params or --config)" if run_params["runtime_params"] else ""
    if "download_report" in outputs:
        return f"kedro run --env celeba --pipeline ingest{others}"
    if "packaged_report" in outputs:
        return "deepdepixelate enhance PHOTO -o enlarged"
    if "registered_report" in outputs:
        model = catalog.load("registered_srgan").provenance["registered_model"]
        return f"deepdepixelate enhance PHOTO -o enlarged --model {model}"
    if "report" in outputs:
        weights = _shown(catalog, "srgan", project)
        return f"deepdepixelate enhance PHOTO -o enlarged --model {weights}"
    made = [stage for stage in _CHAIN[:-1] if outputs & pipelines[stage].all_outputs()]
    if "verify_report" in outputs:
        made = ["degrade"]
    following = _CHAIN[_CHAIN.index(made[-1]) + 1] if made else _CHAIN[-1]
    return f"kedro run{environment_option(run_params['env'])} --pipeline {following}{others}"
