"""Being asked to stop: Ctrl-C, SIGTERM or SIGHUP ends a training after the update in progress."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import Signals
from types import FrameType

from deepdepixelate.errors import UserError

SIGNALS = tuple(
    Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in Signals.__members__
)
"""What asks to stop: Ctrl-C, a scheduler or ``kill``, a terminal that was closed."""

StopRequest = Callable[[], Signals | None]
"""Tells the signal that asked to stop, or None."""


class InterruptionError(UserError):
    """A training was asked to stop.

    Attributes:
        number: the signal that asked.
        exit_code: what a shell expects of a process that this signal ended.
    """

    def __init__(self, message: str, number: Signals) -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 128 + number


def heeded() -> tuple[Signals, ...]:
    """Those of ``SIGNALS`` that this process does not ignore, as it does SIGHUP under nohup."""
    return tuple(number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def stop_requests(
    ask: Callable[[Signals], bool] = lambda number: True,
    give_up: Callable[[], None] = lambda: None,
) -> Iterator[StopRequest]:
    """While inside, the first signal is only noted; the second does what it always does.

    Yields what tells the signal. Who leaves without an exception has not heeded it: then it does
    what it always does, too. Signals reach the main thread alone; in any other nothing is noted.

    Args:
        ask: is told the first signal; False where that must do what it always does.
        give_up: is called before a signal does what it always does.
    """
    noted: list[Signals] = []
    before = {number: signal.getsignal(number) for number in heeded()}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        if not noted and ask(Signals(number)):
            noted.append(Signals(number))
            return
        restore()
        give_up()
        signal.raise_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: noted[0] if noted else None
    finally:
        restore()
    if noted:
        signal.raise_signal(noted[0])
