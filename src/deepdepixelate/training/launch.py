"""From one process to many: a training on several GPUs, or several hosts, through TorchElastic.

One ``kedro run`` stays one session and one MLflow run: the node starts the processes, they train,
and the node reads what they left. Other hosts join with ``deepdepixelate worker``; all hosts need
the same files at the same paths (a shared file system). A process that dies takes its round down,
and all start again from the last checkpoint.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from signal import Signals
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from deepdepixelate.errors import UserError, failure_message, first_line
from deepdepixelate.models.device import find_device
from deepdepixelate.parallel import available_processors
from deepdepixelate.parameters import TrainingParameters
from deepdepixelate.training.interruption import (
    InterruptionError,
    StopRequest,
    heeded,
    stop_requests,
)
from deepdepixelate.training.loop import Log
from deepdepixelate.training.ranks import ALONE, Ranks
from deepdepixelate.training.resuming import UNTRACKED, TrackedRun

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

Training = Callable[[Log, TrackedRun, Ranks], Result]
"""One of the trainings of ``runs``, with its data and settings given; goes to other processes."""

Record = Callable[[], AbstractContextManager[tuple[Log, TrackedRun]]]
"""Opens, in another process, the record that this run keeps; goes to other processes."""

ROUND = "deepdepixelate"
"""The name under which processes meet: one training at a time at one rendezvous."""


@dataclass(frozen=True)
class Job(Generic[Result]):
    """What the processes of a training do."""

    training: Training[Result]
    record: Record
    sync_batch_norm: bool


def run(
    job: Job[Result],
    settings: TrainingParameters,
    log: Log,
    tracked_run: TrackedRun,
) -> Result:
    """Train as the settings say, in this process or in many, and give what came of it.

    Raises:
        InterruptionError: a signal asked to stop; there is a checkpoint to go on from.
        UserError: what the training raises; or its processes kept dying.
    """
    devices = count_devices(settings)
    if devices * settings.hosts == 1:
        return job.training(log, tracked_run, ALONE)
    on_gpu = find_device(settings.device).type == "cuda"
    _launch(devices, settings.hosts, settings.rendezvous, settings.max_restarts, job, on_gpu)
    reader = Ranks(device="cuda" if on_gpu else "cpu", trained_by=devices * settings.hosts)
    return job.training(log, tracked_run, reader)


def join(rendezvous: str, devices: int, hosts: int, max_restarts: int) -> None:
    """Train with the host at ``rendezvous``, from which the job comes, until it is done."""
    _launch(devices, hosts, rendezvous, max_restarts, None, torch.cuda.is_available())


def count_devices(settings: TrainingParameters) -> int:
    """How many processes to start on this host.

    Raises:
        UserError: more than there are GPUs, or several for one named device.
    """
    if settings.devices == "auto":
        return max(1, torch.cuda.device_count()) if settings.device in ("auto", "cuda") else 1
    on_gpu = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    if on_gpu and settings.devices > torch.cuda.device_count():
        raise UserError(
            f"training.devices asks for {settings.devices} GPUs, this host has "
            f"{torch.cuda.device_count()}."
        )
    if settings.devices > 1 and settings.device not in ("auto", "cuda", "cpu"):
        raise UserError(
            f"training.devices={settings.devices} goes with training.device=auto, cuda or cpu, "
            f"not {settings.device}."
        )
    return settings.devices


class _Line:
    """What a process and those that it starts tell each other, in memory that they share.

    Attributes:
        stop: the number of the signal that asked to stop; 0 for none. The first process sets it.
        training: 1 once there is something to stop with a checkpoint. Any of the others sets it.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.stop = context.RawValue("i", 0)
        self.training = context.RawValue("i", 0)

    def ask(self, number: Signals) -> bool:
        """Ask the training to stop, if it has begun."""
        if self.training.value:
            self.stop.value = number
        return bool(self.training.value)


def _launch(
    devices: int,
    hosts: int,
    rendezvous: str | None,
    max_restarts: int,
    job: Job[Any] | None,
    on_gpu: bool,
) -> None:
    config = LaunchConfig(
        min_nodes=hosts,
        max_nodes=hosts,
        nproc_per_node=devices,
        run_id=ROUND,
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous or "localhost:0",
        max_restarts=max_restarts,
        monitor_interval=1,
        start_method="spawn",
        # Of the other signals, TorchElastic would kill the processes before their checkpoint.
        signals_to_handle="SIGQUIT",
    )
    # Each round gets a store of its own. In the shared one the processes of a round after a death
    # find the addresses of those before, and wait for them until they give up.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    line = _Line()
    try:
        with _same_signals_afterwards(), stop_requests(line.ask, _kill_processes):
            told = elastic_launch(config, _work)(job, devices, on_gpu, line)
            for said in told.values():
                if said is not None:
                    said.tell()
    except SignalException as stop:
        number = Signals(stop.sigval)
        raise InterruptionError(f"the training was ended by {number.name}.", number) from stop
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise UserError(
            f"the training broke off: process {rank} of {devices * hosts} failed, after "
            f"{max_restarts} restarts at the most. It said: {_message(failure.message)}"
        ) from error
    except RendezvousError as error:
        raise UserError(
            f"the {hosts} hosts could not meet at {rendezvous} ({first_line(error)}). All must "
            "reach it, be as many as training.hosts says, and be started within 15 minutes."
        ) from error


def _kill_processes() -> None:
    """End the processes of a training at once, so that nobody waits for them."""
    for process in multiprocessing.active_children():
        process.kill()


@contextmanager
def _same_signals_afterwards() -> Iterator[None]:
    """Take back the handlers that TorchElastic leaves behind."""
    number = Signals.__members__.get("SIGQUIT")
    before = None if number is None else signal.getsignal(number)
    try:
        yield
    finally:
        if number is not None and threading.current_thread() is threading.main_thread():
            signal.signal(number, before)


def _message(said: Any) -> str:
    return str(said["message"] if isinstance(said, dict) else said)


@dataclass(frozen=True)
class _Said:
    """Why a process ended before its training: what the first process raises in its place."""

    message: str
    signal: int | None = None

    def tell(self) -> None:
        if self.signal is not None:
            raise InterruptionError(self.message, Signals(self.signal))
        raise UserError(self.message)


def _work(job: Job[Any] | None, devices: int, on_gpu: bool, line: _Line) -> _Said | None:
    """What each process does; the job comes from a process that has it.

    Returns:
        What a user has to fix before it makes sense to start the processes again, or that they
        were asked to stop, if anything.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the first process hears it, too
    local_rank = int(os.environ["LOCAL_RANK"])
    if on_gpu:
        torch.cuda.set_device(local_rank)
    else:
        torch.set_num_threads(max(1, available_processors() // devices))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dist.init_process_group("nccl" if on_gpu else "gloo")
    said = None
    try:
        jobs: list[Job[Any] | None] = [None] * dist.get_world_size()
        dist.all_gather_object(jobs, job)
        writer = next(rank for rank, offered in enumerate(jobs) if offered is not None)
        found = jobs[writer]
        assert found is not None  # noqa: S101 - by the choice of the writer
        ranks = Ranks(
            rank=dist.get_rank(),
            count=dist.get_world_size(),
            writer=writer,
            sync_batch_norm=found.sync_batch_norm,
            restarts=int(os.environ["TORCHELASTIC_RESTART_COUNT"]),
            device=f"cuda:{local_rank}" if on_gpu else "cpu",
            stopping=partial(_stopping, line),
        )
        log: Log = _ignore
        tracked_run = UNTRACKED
        with ExitStack() as kept:
            with ranks.agreeing():
                if ranks.is_writer:
                    log, tracked_run = kept.enter_context(found.record())
                else:
                    logging.getLogger("deepdepixelate").setLevel(logging.WARNING)
            found.training(log, tracked_run, ranks)
    except InterruptionError as stop:
        said = _Said(str(stop), stop.number)
    except Exception as error:
        message = failure_message(error)
        if message is None:
            raise
        said = _Said(message)
    finally:
        dist.destroy_process_group()
    if not _started_by_a_living_process():
        os._exit(0)  # nobody takes what is returned, and TorchElastic would wait for that
    return said


@contextmanager
def _stopping(line: _Line) -> Iterator[StopRequest]:
    """What asks one of many processes to stop: a signal, whoever gets it, however often."""
    noted: list[int] = []
    # For good: a process that is told twice to stop must still get to its checkpoint.
    for number in {*heeded(), Signals.SIGINT}:
        signal.signal(number, lambda number, frame: noted.append(number))
    line.training.value = 1

    def request() -> Signals | None:
        if not _started_by_a_living_process():
            return Signals.SIGTERM
        number = line.stop.value or next(iter(noted), None)
        return Signals(number) if number else None

    yield request


def _started_by_a_living_process() -> bool:
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


def _ignore(step: int, metrics: Any) -> None:
    """The log of a process that does not write."""
