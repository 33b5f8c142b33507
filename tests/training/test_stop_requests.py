import os
import signal
from collections.abc import Iterator
from signal import Signals
from types import FrameType

import pytest

from deepdepixelate.training.interruption import SIGNALS, stop_requests

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class HandledError(Exception):
    """What was there before did what it always does."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        raise HandledError(Signals(number).name)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, handle)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_does_what_it_always_does(number: Signals) -> None:
    gave_up: list[bool] = []

    def stop_twice() -> None:
        with stop_requests(give_up=lambda: gave_up.append(True)) as asked:
            assert asked() is None
            send(number)
            assert asked() is number
            assert not gave_up
            send(number)

    with pytest.raises(HandledError, match=number.name):
        stop_twice()
    assert gave_up


def test_a_signal_that_nobody_heeded_is_not_lost() -> None:
    """It came in the last update of a training: the stages after it must not run."""
    with pytest.raises(HandledError, match="SIGINT"), stop_requests():
        send(signal.SIGINT)


def test_a_signal_that_cannot_be_heeded_does_what_it_always_does() -> None:
    with pytest.raises(HandledError, match="SIGTERM"), stop_requests(lambda number: False):
        send(signal.SIGTERM)


def test_handlers_are_as_before_whatever_happens() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def break_off() -> None:
        with stop_requests():
            send(signal.SIGINT)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        break_off()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_the_process_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_requests() as asked:
        send(signal.SIGHUP)
        assert asked() is None
