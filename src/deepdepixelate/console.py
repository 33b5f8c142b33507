"""What all commands share: errors that a person can read, and a clean end when they are stopped."""

import errno
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click

from deepdepixelate.errors import UserError

_FULL_OR_FORBIDDEN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


class ReadableErrors(click.Command):
    """Tells what a person can mend in one message; any other exception keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            number = signal.SIGTERM if isinstance(interruption, _Terminated) else signal.SIGINT
            self.clean_up()
            click.echo(f"Stopped by {number.name}. Run the same command again.", err=True)
            raise SystemExit(128 + number) from None
        except Exception as error:
            for cause in _causes(error):
                if message := self.explain(cause):
                    click.ClickException(message).show()
                    raise SystemExit(getattr(cause, "exit_code", 1)) from error
            raise

    def explain(self, error: BaseException) -> str | None:
        """What to tell of an error that is a person's to mend; None for one of the program's."""
        if isinstance(error, UserError):
            return str(error)
        if isinstance(error, OSError) and error.errno in _FULL_OR_FORBIDDEN:
            place = f" ({error.filename})" if error.filename else ""
            return (
                f"{error.strerror}{place}: make room or mend the permissions, then run the same "
                "command again."
            )
        return None

    def clean_up(self) -> None:
        """What else to do when the command is stopped."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM, made to unwind as Ctrl-C does."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
