"""Names and descriptions of runs and models, as MLflow's pages show them."""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModel

from deepdepixelate.evaluation.formatting import METRICS, measured
from deepdepixelate.tracking.store import without_password

_LONGEST_NAME = 60

_COLUMNS = ("psnr_y", "ssim_y", "st_lpips", "identity_distance")
"""Metrics in the table of a run."""

_OF_MODEL = ("psnr_y", "st_lpips")
"""Metrics in the description of a model."""


def run_name(changes: Mapping[str, Any]) -> str:
    """Name a run after its ``--params``, as in ``pretrain.updates=1500``; shortens a long name."""
    name = without_password(", ".join(_assignments(changes)))
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _assignments(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _assignments(value, f"{prefix}{key}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, default=str)
            yield f"{prefix}{key}={shown}"


def typed_command() -> str | None:
    """The command of this process, without passwords; None if it is not a command of ours."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.stem == "__main__" else program.stem
    if name not in ("kedro", "deepdepixelate"):
        return None  # a notebook or a script
    return without_password(shlex.join([name, *sys.argv[1:]]))


def describe_run(run_id: str, sets: Mapping[str, Any] | None = None) -> None:
    """Write a run's description: a table of scores, and links to the runs of its weights.

    Args:
        run_id: the run; its tags ``evaluates.*`` and ``starts_from.*`` name the linked runs.
        sets: the entry ``sets`` of ``evaluation.json``.
    """
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    paragraphs = [_score_table(sets)] if sets else []
    for relation in ("starts_from", "evaluates"):
        links = [
            f"{tag.split('.')[1]} of run [{maker[:8]}]"
            f"(#/experiments/{run.info.experiment_id}/runs/{maker})"
            for tag, maker in run.data.tags.items()
            if tag.startswith(f"{relation}.") and tag.endswith(".run")
        ]
        if links:
            verb = relation.replace("_", " ").capitalize()
            paragraphs.append(f"{verb} {' and '.join(links)}.")
    if paragraphs:
        client.set_tag(run_id, "mlflow.note.content", "\n\n".join(paragraphs))


def _score_table(sets: Mapping[str, Any]) -> str:
    """A table in Markdown: one row per set and model.

    MLflow's page draws tables without space between columns, so each cell ends with some.
    """
    available = {metric for of_set in sets.values() for metric in measured(of_set["models"])}
    shown = [metric for metric in _COLUMNS if metric in available]
    rows = [["set", "model", *(METRICS[metric].column for metric in shown)]]
    for name, of_set in sets.items():
        for model, values in of_set["models"].items():
            numbers = [METRICS[metric].number(values.get(metric)) for metric in shown]
            rows.append([name.replace("|", r"\|"), model, *numbers])
    lines = [f"| {'&emsp; | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]])


def describe_scores(
    model: LoggedModel, title: str, metrics: Mapping[str, float], prefix: str
) -> None:
    """Begin the description of a model's registered versions with PSNR and ST-LPIPS.

    Args:
        model: its versions are those that were registered from it.
        title: begins the paragraph; an earlier paragraph with the same title is replaced.
        metrics: of a run, by name.
        prefix: what the names of the model's metrics begin with, such as ``test.srgan.``.
    """
    scores = [
        f"{METRICS[metric].title} {METRICS[metric].value(metrics[prefix + metric])}"
        for metric in _OF_MODEL
        if prefix + metric in metrics
    ]
    if not scores:
        return
    client = mlflow.MlflowClient()
    for version in client.search_model_versions(f"run_id='{model.source_run_id}'"):
        if version.source == model.model_uri:
            kept = [
                paragraph
                for paragraph in (version.description or "").split("\n\n")
                if not paragraph.startswith(title)
            ]
            text = "\n\n".join([f"{title}: {', '.join(scores)}", *kept])
            client.update_model_version(version.name, version.version, text)
