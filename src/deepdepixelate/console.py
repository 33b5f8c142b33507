"""What all commands share: readable errors, and a clean end when they are stopped."""

import signal
from collections.abc import Iterator
from signal import Signals
from types import FrameType
from typing import Any

import click

from deepdepixelate.errors import explained

_ENDINGS = ("SIGTERM", "SIGHUP")
"""Signals that end a process without unwinding it. Windows has no SIGHUP."""


class ReadableErrors(click.Command):
    """Shows an error that a user can fix as one message; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        for name in _ENDINGS:
            number = Signals.__members__.get(name)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            number = interruption.number if isinstance(interruption, _Ended) else Signals.SIGINT
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
        """The message for an error that a user can fix; None for a bug."""
        return explained(error)

    def clean_up(self) -> None:
        """What else to do when the command is stopped."""


class _Ended(KeyboardInterrupt):
    """A signal, made to unwind as Ctrl-C does."""

    def __init__(self, number: Signals) -> None:
        super().__init__()
        self.number = number


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended(Signals(number))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from; not what was merely being handled at the time."""
    while error is not None:
        yield error
        error = error.__cause__
