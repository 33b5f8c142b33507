"""``kedro run`` with readable errors and repeatable ``--params``."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _split_params
from kedro.framework.project import pipelines
from kedro.io import DatasetNotFoundError
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project, load_obj
from omegaconf import OmegaConf
from tqdm.contrib.logging import logging_redirect_tqdm
from yaml import YAMLError

from deepdepixelate.cli import load_settings
from deepdepixelate.readable_errors import ReadableErrors


class _KedroRun(ReadableErrors):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "must contain a key and a value" not in error.message:
                raise
            raise click.UsageError(
                f"{error.message} Commas separate parameters. To set a list, or a path with a "
                "comma, write it to a file and pass that with --config, as in conf/recipe.yml.",
                ctx,
            ) from error

    def invoke(self, ctx: click.Context) -> Any:
        if (project := find_kedro_project(Path.cwd())) is not None:
            os.chdir(project)  # relative paths of parameters and catalogue start there
        load_settings()
        _check_pipeline_names(ctx.params)
        _check_selection(ctx.params)
        _check_runner(ctx.params["runner"], is_async=ctx.params["is_async"])
        _merge_params_of_config_file(ctx)
        with logging_redirect_tqdm():
            return super().invoke(ctx)

    def explain(self, error: BaseException) -> str | None:
        if isinstance(error, DatasetNotFoundError) and "load_versions" in str(error):
            return f"--load-versions: {error}"
        return str(error) if isinstance(error, MissingConfigException) else super().explain(error)

    def clean_up(self) -> None:
        from deepdepixelate.tracking.hooks import end_killed_run

        end_killed_run()


PATHS = re.compile(
    r"(celeba|faces|shards)_dir|ingest\.split\.identities|enhance\.(input|output|model)"
    r"|pretrain\.start_from|train_gan\.(vgg_weights|discriminator\.start_from)"
    r"|evaluate\.benchmarks\.[^.]+(\.hr|\.lr)?"
)
"""Names of parameters that are paths."""


class _Params(click.Option):
    """``--params``, repeatable. Its value is a mapping already if it comes from ``--config``."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        return value if isinstance(value, Mapping) else super().type_cast_value(ctx, value)


def _read_params(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    if isinstance(value, Mapping):
        return value
    items = [_quote_path(item) for item in ",".join(value or ()).split(",")]
    try:
        return _split_params(ctx, option, ",".join(filter(None, items)))
    except YAMLError as error:
        raise click.BadParameter(f"{error} Put the value in quotes.", ctx, option) from error


def _quote_path(item: str) -> str:
    """Quote the value if it is a path: YAML would convert 2024_11_26, 007, #1 and @home."""
    name, _, path = (part.strip() for part in item.partition("="))
    if not PATHS.fullmatch(name) or path in ("", "null", "~") or path[0] in "'\"":
        return item
    return f"{name}='{path.replace(chr(39), 2 * chr(39))}'"


def _merge_params_of_config_file(ctx: click.Context) -> None:
    """Let ``--params`` override those of ``--config``; Kedro would drop the file's."""
    of_file = (ctx.default_map or {}).get("params")
    if of_file and ctx.params["params"] is not of_file:
        merged = OmegaConf.merge(of_file, ctx.params["params"])
        ctx.params["params"] = OmegaConf.to_container(merged)


def _check_runner(runner: str | None, *, is_async: bool) -> None:
    """Refuse runners that Kedro fails with later, and ``--async``."""
    if is_async:
        raise click.ClickException(
            "--async cannot be used here: an MLflow run belongs to one thread, and metrics "
            "saved on other threads would be lost. Run the same command without it."
        )
    if "ParallelRunner" in (runner or ""):
        raise click.ClickException(
            "ParallelRunner cannot run this project: MLflow's datasets do not work across "
            "processes. Leave --runner out: trainings use all cores or GPUs anyway."
        )
    try:
        load_obj(runner or "SequentialRunner", "kedro.runner")
    except (AttributeError, ImportError, ValueError) as error:
        raise click.ClickException(
            f"unknown runner {runner}: use SequentialRunner, or leave --runner out."
        ) from error


def _check_pipeline_names(options: dict[str, Any]) -> None:
    for name in filter(None, (options["pipeline"], *(options["pipelines"] or ()))):
        if name not in pipelines:
            known = ", ".join(sorted(set(pipelines) - {"__default__"}))
            raise click.ClickException(f"unknown pipeline {name}; the pipelines are {known}.")


_FILTERS = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs")


def _check_selection(options: dict[str, Any]) -> None:
    """Report a filter that selects nothing; Kedro would end with a traceback."""
    filters = {name: options[name] for name in _FILTERS if options[name]}
    if options["namespaces"]:
        filters["node_namespaces"] = options["namespaces"]
    if not filters:
        return
    names = options["pipelines"] or [options["pipeline"] or "__default__"]
    chosen = sum((pipelines[name] for name in names), Pipeline([]))
    try:
        chosen.filter(**filters)
    except ValueError as error:
        nodes = ", ".join(node.name for node in chosen.nodes)
        raise click.ClickException(f"{error} The nodes are {nodes}.") from error


run = _KedroRun(
    name="run",
    callback=kedro_run.callback,
    params=[
        _Params(["--params"], multiple=True, help=option.help, callback=_read_params)
        if option.name == "params" and isinstance(option, click.Option)
        else option
        for option in kedro_run.params
    ],
    help=kedro_run.help,
    context_settings=kedro_run.context_settings,
)
