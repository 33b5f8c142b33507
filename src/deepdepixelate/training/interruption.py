"""Stop signals: Ctrl-C, SIGTERM and SIGHUP end a training after the current update."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import Signals
from types import FrameType
from typing import Any

from deepdepixelate.errors import UserError

STOP_SIGNALS = tuple(
    Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in Signals.__members__
)
"""Sent by Ctrl-C; by a scheduler or ``kill``; when a terminal is closed."""

ReceivedSignal = Callable[[], Signals | None]
"""Returns the stop signal that was received, or None."""


class InterruptionError(UserError):
    """A signal stopped the training.

    Attributes:
        number: the signal.
        exit_code: the one that a shell expects after this signal.
    """

    def __init__(self, message: str, number: Signals) -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 128 + number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.number)


def unignored_signals() -> tuple[Signals, ...]:
    """The stop signals that this process does not ignore; under nohup it ignores SIGHUP."""
    return tuple(
        number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
    )


@contextmanager
def catch_stop_signals(
    accept: Callable[[Signals], bool] = lambda number: True,
    before_default: Callable[[], None] = lambda: None,
) -> Iterator[ReceivedSignal]:
    """Inside the block, the first stop signal is only recorded; a second has its usual effect.

    If the block ends without an exception, a recorded signal has its usual effect then. Signals
    arrive in the main thread; in any other thread this records nothing.

    Args:
        accept: called with the first signal; returns False to let it have its usual effect.
        before_default: called before a signal has its usual effect.

    Yields:
        A function that returns the recorded signal.
    """
    received: list[Signals] = []
    handlers = {number: signal.getsignal(number) for number in unignored_signals()}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def record(number: int, frame: FrameType | None) -> None:
        if not received and accept(Signals(number)):
            received.append(Signals(number))
            return
        restore()
        before_default()
        signal.raise_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    for number in handlers:
        signal.signal(number, record)
    try:
        yield lambda: received[0] if received else None
    finally:
        restore()
    if received:
        signal.raise_signal(received[0])
