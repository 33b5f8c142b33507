"""Work on several threads whose results come in order, a few at a time."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Generator[Result, None, None]:
    """Like ``map`` on threads, without reading ahead further than two items a thread.

    ``ThreadPoolExecutor.map`` takes all items at once and keeps all results that are not yet asked
    for; here both stay bounded, so that a stream of any length runs in the same memory.

    Args:
        function: must let go of the interpreter lock in its long parts to be worth it.
        items: taken from the calling thread alone.
        workers: threads, by default one for each processor that this process may use.
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


def available_processors() -> int:
    """Processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
