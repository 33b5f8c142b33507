"""The points of the curves: mean losses and speed since the point before."""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from torch import Tensor

from deepdepixelate.training.ranks import Ranks


class Window:
    """Sums losses on their device, so that nothing waits for it between two points."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._count = 0
        self._timed = 0
        self._since = perf_counter()

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of one update."""
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss
        self._count += 1
        self._timed += 1

    def read(self, ranks: Ranks) -> dict[str, float]:
        """The mean losses so far, over all ranks, which must all ask; read from the device."""
        sums = ranks.average({name: float(value) for name, value in self._sums.items()})
        self._sums = dict(sums)
        return {name: value / self._count for name, value in sums.items()}

    def updates_per_second(self) -> float:
        """The speed since the clock was restarted."""
        return self._timed / (perf_counter() - self._since)

    def clear(self) -> None:
        """Begin a new point."""
        self._sums, self._count = {}, 0

    def restart_clock(self) -> None:
        """Leave a validation or a checkpoint since the last update out of the speed."""
        self._timed, self._since = 0, perf_counter()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs to make the same next point."""
        return {"sums": self._sums, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state``."""
        self._sums, self._count = dict(state["sums"]), state["count"]
        self.restart_clock()
