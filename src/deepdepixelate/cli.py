"""The project's part of the ``kedro`` command: ``kedro run`` whose errors a person can read."""

from collections.abc import Iterator
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from deepdepixelate.errors import UserError


@click.group(name="deepdepixelate")
def cli() -> None:
    """Commands of DeepDepixelate."""


class _ReadableErrors(click.Command):
    """Tells a UserError in one message; any other exception keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            for cause in _causes(error):
                if isinstance(cause, UserError):
                    raise click.ClickException(str(cause)) from error
            raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


cli.add_command(
    _ReadableErrors(
        name="run",
        callback=kedro_run.callback,
        params=kedro_run.params,
        help=kedro_run.help,
        context_settings=kedro_run.context_settings,
    )
)
