import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from deepdepixelate.parallel import map_in_order


def count_up(taken: list[int], end: int) -> Iterator[int]:
    for number in range(end):
        taken.append(number)
        yield number


def finishes(action: Callable[[], object]) -> bool:
    """Whether an action comes to its end, in place of hanging for ever."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(timeout=20)
    return not thread.is_alive()


@pytest.mark.parametrize("workers", [None, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_results_come_in_order(count: int, workers: int | None) -> None:
    results = map_in_order(lambda number: number * number, range(count), workers)
    assert list(results) == [number * number for number in range(count)]


def test_a_slow_item_does_not_lose_its_place() -> None:
    later_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert later_done.wait(timeout=20)
        if number == 3:
            later_done.set()
        return number

    assert list(map_in_order(work, range(8), workers=2)) == list(range(8))


def test_items_are_worked_on_at_the_same_time() -> None:
    meeting = threading.Barrier(3)

    def work(number: int) -> int:
        meeting.wait(timeout=20)  # broken unless three are in here together
        return number

    assert list(map_in_order(work, range(6), workers=3)) == list(range(6))


def test_nothing_is_taken_before_the_first_result_is_wanted() -> None:
    taken: list[int] = []
    results = map_in_order(str, count_up(taken, 10), workers=2)
    assert taken == []
    assert next(results) == "0"
    assert taken[0] == 0


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_reading_ahead_is_bounded(workers: int) -> None:
    taken: list[int] = []
    for received, _ in enumerate(map_in_order(str, count_up(taken, 100), workers), start=1):
        assert len(taken) - received <= 2 * workers
    assert len(taken) == 100


def test_items_are_taken_from_the_calling_thread_alone() -> None:
    threads = []

    def items() -> Iterator[int]:
        for number in range(20):
            threads.append(threading.current_thread())
            yield number

    list(map_in_order(str, items(), workers=3))
    assert set(threads) == {threading.current_thread()}


def test_an_error_in_the_work_arrives_after_the_results_before_it() -> None:
    taken: list[int] = []

    def work(number: int) -> int:
        if number == 5:
            raise ValueError("the fifth")
        return number

    received: list[int] = []
    with pytest.raises(ValueError, match="the fifth"):
        received.extend(map_in_order(work, count_up(taken, 1000), workers=2))
    assert received == [0, 1, 2, 3, 4]
    assert len(taken) <= 5 + 2 * 2 + 1


def test_an_error_among_the_items_arrives() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(map_in_order(str, items(), workers=2))


def test_stopping_early_ends_what_runs_and_drops_what_waits() -> None:
    before = threading.active_count()
    worked: list[int] = []

    def work(number: int) -> int:
        worked.append(number)
        return number

    def stop_early() -> None:
        results = map_in_order(work, range(10_000), workers=2)
        next(results)
        next(results)
        results.close()

    assert finishes(stop_early)
    assert len(worked) <= 2 + 2 * 2
    assert threading.active_count() == before


def test_what_waits_when_stopped_is_never_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            stopping.set()
            super().shutdown(wait, cancel_futures=cancel_futures)

    monkeypatch.setattr("deepdepixelate.parallel.ThreadPoolExecutor", Pool)
    worked: list[int] = []

    def work(number: int) -> int:
        worked.append(number)
        assert number == 0 or stopping.wait(timeout=20)
        return number

    def stop_early() -> None:
        results = map_in_order(work, range(100), workers=2)
        next(results)
        results.close()

    assert finishes(stop_early)
    assert 3 not in worked  # 1 and 2 keep both threads until the pool is shut down


def test_stopping_before_the_start_takes_nothing() -> None:
    taken: list[int] = []
    results = map_in_order(str, count_up(taken, 10), workers=2)
    results.close()
    assert taken == []
    assert list(results) == []
