"""When processes that train together ask each other whether to stop."""

from time import monotonic

from deepdepixelate.training.interruption import StopRequest
from deepdepixelate.training.ranks import Ranks

SECONDS = 1.0
"""About how long a request waits: each question makes the processes wait for their GPUs."""


class Stops:
    """Makes all ranks stop after the same update, about a second after any was asked to."""

    def __init__(self, ranks: Ranks, requested: StopRequest) -> None:
        self._ranks = ranks
        self._requested = requested
        self._wait = 1
        self._left = 1
        self._since = monotonic()

    def asked(self) -> int | None:
        """The signal that asked to stop, or None; all ranks must ask after each update."""
        if self._ranks.count == 1:
            return self._requested()
        self._left -= 1
        if self._left:
            return None
        now = monotonic()
        answers = self._ranks.gather((self._requested(), now - self._since))
        slowest = max(seconds for _, seconds in answers)
        self._wait = max(1, int(self._wait * min(2.0, SECONDS / max(slowest, 1e-3))))
        self._left, self._since = self._wait, now
        return next((number for number, _ in answers if number is not None), None)
