"""The project's part of the ``kedro`` command: ``kedro run`` whose errors a person can read."""

import errno
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run

from deepdepixelate.errors import UserError

_FULL_OR_FORBIDDEN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


@click.group(name="deepdepixelate")
def cli() -> None:
    """Commands of DeepDepixelate."""


class _ReadableErrors(click.Command):
    """Tells what a person can mend in one message; any other exception keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        if "pipeline" in ctx.params:
            _check_pipeline_names(ctx.params)
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            number = signal.SIGTERM if isinstance(interruption, _Terminated) else signal.SIGINT
            _close_mlflow_run()
            click.echo(f"Stopped by {number.name}. Run the same command again.", err=True)
            raise SystemExit(128 + number) from None
        except Exception as error:
            for cause in _causes(error):
                if message := _explain(cause):
                    raise _Told(message, getattr(cause, "exit_code", 1)) from error
            raise


class _Told(click.ClickException):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads the instance


class _Terminated(KeyboardInterrupt):
    """SIGTERM, made to unwind as Ctrl-C does."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _close_mlflow_run() -> None:
    """End the run as KILLED; MLflow itself would call an interrupted one FINISHED, or nothing."""
    import mlflow

    if mlflow.active_run() is not None:
        mlflow.end_run("KILLED")


def _check_pipeline_names(options: dict[str, Any]) -> None:
    from kedro.framework.project import pipelines

    asked = [name for name in (options["pipeline"], *(options["pipelines"] or ())) if name]
    for name in asked:
        if name not in pipelines:
            known = ", ".join(sorted(set(pipelines) - {"__default__"}))
            raise click.ClickException(f"there is no pipeline {name}; there are {known}.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain(error: BaseException) -> str | None:
    """What to tell of an error that is a person's to mend; None for one of the program's own."""
    if isinstance(error, UserError | MissingConfigException):
        return str(error)
    if isinstance(error, OSError) and error.errno in _FULL_OR_FORBIDDEN:
        place = f" ({error.filename})" if error.filename else ""
        return (
            f"{error.strerror}{place}: make room or mend the permissions, then run the same "
            "command again."
        )
    return None


@cli.command(cls=_ReadableErrors)
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
    _ReadableErrors(
        name="run",
        callback=kedro_run.callback,
        params=kedro_run.params,
        help=kedro_run.help,
        context_settings=kedro_run.context_settings,
    )
)
