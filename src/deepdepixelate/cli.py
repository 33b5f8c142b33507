"""The project's part of the ``kedro`` command: ``kedro run`` whose errors a user can read."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _split_params
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project
from omegaconf import OmegaConf
from yaml import YAMLError

from deepdepixelate.commands import commands
from deepdepixelate.console import ReadableErrors


@click.group(name="deepdepixelate")
def cli() -> None:
    """Commands of DeepDepixelate."""


class _KedroRun(ReadableErrors):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "must contain a key and a value" not in error.message:
                raise
            raise click.UsageError(
                f"{error.message} Commas separate parameters: a list, or a path with a comma, goes "
                "into a file that --config names, as in conf/recipe.yml.",
                ctx,
            ) from error

    def invoke(self, ctx: click.Context) -> Any:
        if (project := find_kedro_project(Path.cwd())) is not None:
            os.chdir(project)  # paths are relative to it, as those of the catalogue are
        _check_pipeline_names(ctx.params)
        _check_selection(ctx.params)
        _check_runner(ctx.params)
        _add_params_of_the_file(ctx)
        return super().invoke(ctx)

    def explain(self, error: BaseException) -> str | None:
        return str(error) if isinstance(error, MissingConfigException) else super().explain(error)

    def clean_up(self) -> None:
        from deepdepixelate.tracking.hooks import end_killed_run

        end_killed_run()


PATHS = re.compile(
    r"celeba_dir|enhance\.(input|output|model)|pretrain\.start_from|train_gan\.vgg_weights"
    r"|evaluate\.benchmarks\.[^.]+(\.hr|\.lr)?"
)
"""Names of parameters that are paths."""


class _Params(click.Option):
    """``--params``, any number of times."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        of_the_file = isinstance(value, Mapping)  # that --config names
        return value if of_the_file else super().type_cast_value(ctx, value)


def _read_params(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    if isinstance(value, Mapping):
        return value
    items = [_as_written(item) for item in ",".join(value or ()).split(",")]
    try:
        return _split_params(ctx, option, ",".join(filter(None, items)))
    except YAMLError as error:
        raise click.BadParameter(f"{error} Put the value in quotes.", ctx, option) from error


def _as_written(item: str) -> str:
    """Quote a path: 2024_11_26, 007, #1 and @home mean something else in YAML."""
    name, _, path = (part.strip() for part in item.partition("="))
    if not PATHS.fullmatch(name) or path in ("", "null", "~") or path[0] in "'\"":
        return item
    return f"{name}='{path.replace(chr(39), 2 * chr(39))}'"


def _check_runner(options: dict[str, Any]) -> None:
    """Refuse what Kedro fails at later: datasets of MLflow do not go to other processes."""
    if "ParallelRunner" in (options["runner"] or ""):
        raise click.ClickException(
            "ParallelRunner cannot run this project: MLflow's record does not reach other "
            "processes. Leave --runner out: a training uses all cores, or GPUs, by itself."
        )


def _add_params_of_the_file(ctx: click.Context) -> None:
    """Let ``--params`` change those of ``--config``: Kedro would drop the file's altogether."""
    of_the_file = (ctx.default_map or {}).get("params")
    if of_the_file and ctx.params["params"] is not of_the_file:
        merged = OmegaConf.merge(of_the_file, ctx.params["params"])
        ctx.params["params"] = OmegaConf.to_container(merged)


def _check_pipeline_names(options: dict[str, Any]) -> None:
    from kedro.framework.project import pipelines

    asked = [name for name in (options["pipeline"], *(options["pipelines"] or ())) if name]
    for name in asked:
        if name not in pipelines:
            known = ", ".join(sorted(set(pipelines) - {"__default__"}))
            raise click.ClickException(f"there is no pipeline {name}; there are {known}.")


_SELECTING = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs")


def _check_selection(options: dict[str, Any]) -> None:
    """Name what is not in the pipeline: Kedro's own message ends a traceback."""
    from kedro.framework.project import pipelines

    selection = {name: options[name] for name in _SELECTING if options[name]}
    if options["namespaces"]:
        selection["node_namespaces"] = options["namespaces"]
    if not selection:
        return
    asked = options["pipelines"] or [options["pipeline"] or "__default__"]
    chosen = sum((pipelines[name] for name in asked), Pipeline([]))
    try:
        chosen.filter(**selection)
    except ValueError as error:
        nodes = ", ".join(node.name for node in chosen.nodes)
        raise click.ClickException(f"{error} The nodes are {nodes}.") from error


@cli.command(cls=ReadableErrors)
@click.option("--rendezvous", required=True, help="HOST:PORT of training.rendezvous.")
@click.option("--devices", type=click.IntRange(min=1), help="Processes; by default one a GPU.")
@click.option("--hosts", default=2, show_default=True, help="As training.hosts.")
@click.option("--max-restarts", default=3, show_default=True, help="As training.max_restarts.")
def worker(rendezvous: str, devices: int | None, hosts: int, max_restarts: int) -> None:
    """Train along with the host that runs `kedro run`, until its training is done.

    All hosts need the project's folder at the same path (a shared file system), the same
    installation and as many processes each.
    """
    import torch

    from deepdepixelate.training.launch import join

    join(rendezvous, devices or max(1, torch.cuda.device_count()), hosts, max_restarts)


cli.add_command(
    _KedroRun(
        name="run",
        callback=kedro_run.callback,
        params=[
            _Params(["--params"], multiple=True, help=option.help, callback=_read_params)
            if isinstance(option, click.Option) and option.name == "params"
            else option
            for option in kedro_run.params
        ],
        help=kedro_run.help,
        context_settings=kedro_run.context_settings,
    )
)
for command in commands.commands.values():
    cli.add_command(command)
