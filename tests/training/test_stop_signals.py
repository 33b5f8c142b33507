import os
import signal
from collections.abc import Iterator
from signal import Signals
from types import FrameType

import pytest

from deepdepixelate.training.interruption import STOP_SIGNALS, catch_stop_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class HandledError(Exception):
    """What was there before did what it always does."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        raise HandledError(Signals(number).name)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, handle)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_is_noted_and_the_second_does_what_it_always_does(number: Signals) -> None:
    gave_up: list[bool] = []

    def stop_twice() -> None:
        with catch_stop_signals(before_default=lambda: gave_up.append(True)) as received:
            assert received() is None
            send(number)
            assert received() is number
            assert not gave_up
            send(number)

    with pytest.raises(HandledError, match=number.name):
        stop_twice()
    assert gave_up


def test_a_signal_that_nobody_heeded_is_not_lost() -> None:
    """It came in the last update of a training: the stages after it must not run."""
    with pytest.raises(HandledError, match="SIGINT"), catch_stop_signals():
        send(signal.SIGINT)


def test_a_signal_that_cannot_be_heeded_does_what_it_always_does() -> None:
    with pytest.raises(HandledError, match="SIGTERM"), catch_stop_signals(lambda number: False):
        send(signal.SIGTERM)


def test_handlers_are_as_before_whatever_happens() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]

    def break_off() -> None:
        with catch_stop_signals():
            send(signal.SIGINT)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        break_off()
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_what_the_process_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with catch_stop_signals() as received:
        send(signal.SIGHUP)
        assert received() is None
