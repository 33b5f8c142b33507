"""Where work runs: on threads of this process, or on the processors of a Ray cluster."""

import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from deepdepixelate.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Generator[Result, None, None]:
    """Like ``map``, on threads, reading at most two items per thread ahead.

    ``ThreadPoolExecutor.map`` reads all items at once and keeps all results; here memory is bounded
    for a stream of any length.

    Args:
        function: should release the GIL in its long parts.
        items: read in the calling thread only.
        workers: number of threads; default: one per available processor.
    """
    workers = workers or available_processors()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Engine(Protocol):
    """Runs tasks that do not depend on one another."""

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Generator[Result, None, None]:
        """Like ``map``: results in order. Function, items and results can be pickled."""

    def threads_per_task(self, items: Sized) -> int:
        """How many threads a task may use, when these are all tasks."""

    def map_ranges(
        self, function: Callable[[range, int | None], Iterable[Result]], count: int, size: int
    ) -> Iterator[Result]:
        """The results of a function for ranges of at most ``size`` that cover ``range(count)``.

        The function takes a range, and the number of threads that it may use, or None for one per
        processor. It can be pickled.
        """


@dataclass(frozen=True)
class LocalEngine:
    """Threads of this process.

    Attributes:
        workers: how many; None for one per available processor.
    """

    workers: int | None = None

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Generator[Result, None, None]:
        """``map_in_order``."""
        return map_in_order(function, items, self.workers)

    def threads_per_task(self, items: Sized) -> int:
        """All processors for a single task, one each for many."""
        workers = self.workers or available_processors()
        return max(1, workers // max(1, len(items)))

    def map_ranges(
        self, function: Callable[[range, int | None], Iterable[Result]], count: int, size: int
    ) -> Iterator[Result]:
        """The function called once, in this thread, as it uses all processors itself."""
        yield from function(range(count), self.workers)


LOCAL = LocalEngine()
"""All processors of this machine."""


@dataclass(frozen=True)
class RayEngine:
    """Processes of a Ray cluster, one per processor. A task whose node dies is run again.

    All nodes need the same Python environment, and the paths or URLs of the data.

    Attributes:
        address: of the cluster, as ``ray.init`` takes it; None for a cluster of this machine alone,
            started now and stopped at the end of the process.
    """

    address: str | None = None

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Generator[Result, None, None]:
        """Results in order; at most two tasks per processor are under way.

        Raises:
            UserError: Ray is not installed, or the cluster cannot be reached.
        """
        ray = self._connect()
        run = ray.remote(num_cpus=1, max_retries=_RETRIES)(_call)
        shared = ray.put(function)
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(run.remote(shared, item))
                if len(waiting) >= 2 * self._processors(ray):
                    yield self._result(ray, waiting.popleft())
            while waiting:
                yield self._result(ray, waiting.popleft())
        finally:
            for reference in waiting:
                ray.cancel(reference)

    def threads_per_task(self, items: Sized) -> int:
        """One."""
        return 1

    def map_ranges(
        self, function: Callable[[range, int | None], Iterable[Result]], count: int, size: int
    ) -> Iterator[Result]:
        """One task for each range."""
        ranges = [range(start, min(start + size, count)) for start in range(0, count, size)]
        for results in self.map(lambda part: list(function(part, 1)), ranges):
            yield from results

    def _connect(self) -> Any:
        try:
            import ray
        except ModuleNotFoundError:
            raise UserError(
                'Ray is not installed: pip install -c requirements.lock -e ".[ray]", or take '
                "engine=local."
            ) from None
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
            with _keep_sigterm():
                try:
                    self._check_address()
                    ray.init(
                        address=self.address,
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                    )
                except (OSError, ValueError, RuntimeError) as error:
                    raise UserError(
                        f"the Ray cluster {self.address or 'of this machine'} cannot be used: "
                        f"{error}. Check ray.address, and the cluster with: ray status"
                    ) from error
        return ray

    def _check_address(self) -> None:
        """Try to connect: Ray itself tries for five minutes."""
        host, _, port = (self.address or "").rpartition("://")[2].rpartition(":")
        if host and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()

    @staticmethod
    def _processors(ray: Any) -> int:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    @staticmethod
    def _result(ray: Any, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise UserError(
                f"a task was lost on the Ray cluster, {_RETRIES + 1} times: {error}. Look at the "
                "nodes with: ray status"
            ) from error


_RETRIES = 5


@contextmanager
def _keep_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces; signals belong to the main thread."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def find_engine(kind: str, address: str | None = None) -> Engine:
    """The engine of the parameters ``engine`` (local or ray) and ``ray.address``."""
    return LOCAL if kind == "local" else RayEngine(address)


def available_processors() -> int:
    """Number of processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
