"""Commands that end with one message: for an error that a user can fix, and for a signal."""

import signal
from collections.abc import Iterator
from signal import Signals
from types import FrameType
from typing import Any

import click

from deepdepixelate.errors import failure_message


class ReadableErrors(click.Command):
    """Shows an error that a user can fix as one message; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = Signals.__members__.get(name)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _raise_stopped)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            number = interruption.number if isinstance(interruption, _Stopped) else Signals.SIGINT
            self.clean_up()
            click.echo(f"Stopped by {number.name}. Run the same command again.", err=True)
            raise SystemExit(128 + number) from None
        except Exception as error:
            for cause in _causes(error):
                if message := self.explain(cause):
                    code = getattr(cause, "exit_code", None)  # of a training that was stopped
                    click.echo(message if code else f"Error: {message}", err=True)
                    raise SystemExit(code or 1) from error
            raise

    def explain(self, error: BaseException) -> str | None:
        """The message for an error that a user can fix; None for a bug."""
        return failure_message(error)

    def clean_up(self) -> None:
        """Called when the command is stopped by a signal."""


class _Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP. By default, they would end the process without ``finally`` blocks."""

    def __init__(self, number: Signals) -> None:
        super().__init__()
        self.number = number


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise _Stopped(Signals(number))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes (``raise … from``), without errors that were only being handled."""
    while error is not None:
        yield error
        error = error.__cause__
