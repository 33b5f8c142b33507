"""Being asked to stop: Ctrl-C or SIGTERM ends a training after the update in progress."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deepdepixelate.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptionError(UserError):
    """A training was asked to stop and has left a checkpoint.

    Attributes:
        exit_code: what a shell expects of a process that this signal ended.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


@contextmanager
def stop_requests() -> Iterator[Callable[[], signal.Signals | None]]:
    """While inside, the first signal is only noted; the second does what it always does.

    Yields a function that tells the signal that asked to stop, or None. Signals reach the main
    thread alone; in any other nothing is ever noted.
    """
    noted: list[signal.Signals] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(signal.Signals(number))
        restore()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: noted[0] if noted else None
    finally:
        restore()
