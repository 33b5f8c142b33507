"""Start a training on several GPUs or hosts, through TorchElastic.

One ``kedro run`` stays one session and one MLflow run: the node starts the processes, they train,
and the node reads the result. Other hosts join with ``deepdepixelate worker``. All hosts need the
same files at the same paths (a shared file system). If a process dies, all processes restart from
the last checkpoint.
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
from tqdm.contrib.logging import logging_redirect_tqdm

from deepdepixelate.errors import UserError, failure_message, first_line
from deepdepixelate.models.device import find_device
from deepdepixelate.parallel import available_processors
from deepdepixelate.parameters import TrainingParameters
from deepdepixelate.training.distributed import ALONE, Ranks
from deepdepixelate.training.interruption import (
    InterruptionError,
    ReceivedSignal,
    catch_stop_signals,
    unignored_signals,
)
from deepdepixelate.training.trainer import UNTRACKED, Log, TrackedRun

Result = TypeVar("Result")

_PATIENCE = 900
"""Seconds that a host waits for another one: to start, or to be reached again."""


@dataclass(frozen=True)
class Job(Generic[Result]):
    """What each process runs; sent to all processes.

    Attributes:
        training: a training of ``stages``, with data and parameters bound.
        record: opens the run's record in another process.
        sync_batch_norm: see ``Ranks``.
    """

    training: Callable[[Log, TrackedRun, Ranks], Result]
    record: Callable[[], AbstractContextManager[tuple[Log, TrackedRun]]]
    sync_batch_norm: bool


def run(
    job: Job[Result],
    settings: TrainingParameters,
    log: Log,
    tracked_run: TrackedRun,
) -> Result:
    """Train in this process or, if the parameters ask for it, in several; return the result.

    Raises:
        InterruptionError: a signal stopped the training; it can be resumed.
        UserError: the training raised one, or its processes failed more than ``max_restarts``
            times.
    """
    devices = count_devices(settings)
    if devices * settings.hosts == 1:
        return job.training(log, tracked_run, ALONE)
    on_gpu = find_device(settings.device).type == "cuda"
    _launch(devices, settings.hosts, settings.rendezvous, settings.max_restarts, job, on_gpu)
    reader = Ranks(device="cuda" if on_gpu else "cpu", trained_by=devices * settings.hosts)
    return job.training(log, tracked_run, reader)


def join(rendezvous: str, devices: int, hosts: int, max_restarts: int) -> None:
    """Join the training of the host at ``rendezvous``, which sends the job, until it ends."""
    _launch(devices, hosts, rendezvous, max_restarts, None, torch.cuda.is_available())


def count_devices(settings: TrainingParameters) -> int:
    """The number of processes to start on this host.

    Raises:
        UserError: more processes than GPUs, or several for one named device.
    """
    if settings.devices == "auto":
        return max(1, torch.cuda.device_count()) if settings.device in ("auto", "cuda") else 1
    on_gpu = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    if on_gpu and settings.devices > torch.cuda.device_count():
        raise UserError(
            f"training.devices={settings.devices}, but this host has {torch.cuda.device_count()} "
            "GPUs."
        )
    if settings.devices > 1 and settings.device not in ("auto", "cuda", "cpu"):
        raise UserError(
            f"training.devices={settings.devices} needs training.device=auto, cuda or cpu, "
            f"not {settings.device}."
        )
    return settings.devices


class _SharedState:
    """Memory that a process shares with the workers that it starts.

    Attributes:
        stop: number of the signal that asks to stop, or 0; set by the launching process.
        training: 1 once a worker trains and can stop with a checkpoint; set by the workers.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.stop = context.RawValue("i", 0)
        self.training = context.RawValue("i", 0)

    def request_stop(self, number: Signals) -> bool:
        """Ask the workers to stop; False if none of them trains yet."""
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
        run_id="deepdepixelate",
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous or "localhost:0",
        rdzv_configs={"join_timeout": _PATIENCE, "read_timeout": _PATIENCE},
        max_restarts=max_restarts,
        monitor_interval=1,
        start_method="spawn",
        # On other signals TorchElastic would kill the workers before they save a checkpoint.
        signals_to_handle="SIGQUIT",
    )
    # A new store for each restart: in a shared one the restarted workers find the addresses of the
    # dead ones, and wait for them until they time out.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    shared = _SharedState()
    try:
        with _restored_signals(), catch_stop_signals(shared.request_stop, _kill_workers):
            failures = elastic_launch(config, _work)(job, devices, on_gpu, shared)
            for failure in failures.values():
                if failure is not None:
                    raise failure
    except SignalException as stop:
        number = Signals(stop.sigval)
        raise InterruptionError(f"the training was ended by {number.name}.", number) from stop
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        message = failure.message
        raise UserError(
            f"process {rank} of {devices * hosts} failed (restarts allowed: {max_restarts}). Its "
            f"error: {message['message'] if isinstance(message, dict) else message}"
        ) from error
    except RendezvousError as error:
        raise UserError(
            f"the {hosts} hosts could not connect at {rendezvous}, or lost the connection "
            f"({first_line(error)}). All must reach it and start within {_PATIENCE // 60} minutes, "
            "and training.hosts must be their number. The same commands continue from the last "
            "checkpoint."
        ) from error


def _kill_workers() -> None:
    for process in multiprocessing.active_children():
        process.kill()


@contextmanager
def _restored_signals() -> Iterator[None]:
    """Restore the handler of SIGQUIT, which TorchElastic replaces for good."""
    number = Signals.__members__.get("SIGQUIT")
    before = None if number is None else signal.getsignal(number)
    try:
        yield
    finally:
        if number is not None and threading.current_thread() is threading.main_thread():
            signal.signal(number, before)


def _work(
    job: Job[Any] | None, devices: int, on_gpu: bool, shared: _SharedState
) -> UserError | None:
    """The program of a worker; on hosts that joined, the job comes from the first host.

    Returns:
        The error to raise in the launching process: a stop signal, or a failure that a user must
        fix first, so that a restart is useless. Any other error is raised here.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the launching process
    local_rank = int(os.environ["LOCAL_RANK"])
    if on_gpu:
        torch.cuda.set_device(local_rank)
    else:
        torch.set_num_threads(max(1, available_processors() // devices))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dist.init_process_group("nccl" if on_gpu else "gloo")
    failure: UserError | None = None
    joined = job is None
    try:
        jobs: list[Job[Any] | None] = [None] * dist.get_world_size()
        dist.all_gather_object(jobs, job)
        writer, job = next((rank, each) for rank, each in enumerate(jobs) if each is not None)
        ranks = Ranks(
            rank=dist.get_rank(),
            count=dist.get_world_size(),
            writer=writer,
            sync_batch_norm=job.sync_batch_norm,
            restarts=int(os.environ["TORCHELASTIC_RESTART_COUNT"]),
            device=f"cuda:{local_rank}" if on_gpu else "cpu",
            stop_signals=partial(_worker_stop_signals, shared, joined),
        )
        log: Log = _discard
        tracked_run = UNTRACKED
        with ExitStack() as stack:
            stack.enter_context(logging_redirect_tqdm())
            with ranks.agreeing():
                if ranks.is_writer:
                    log, tracked_run = stack.enter_context(job.record())
                else:
                    logging.getLogger("deepdepixelate").setLevel(logging.WARNING)
            job.training(log, tracked_run, ranks)
    except InterruptionError as stop:
        failure = stop
    except Exception as error:
        message = failure_message(error)
        if message is None:
            raise
        failure = UserError(message)
    finally:
        dist.destroy_process_group()
    if _is_orphan():
        os._exit(0)  # nothing reads the result, and TorchElastic would wait for that
    return failure


@contextmanager
def _worker_stop_signals(shared: _SharedState, joined: bool) -> Iterator[ReceivedSignal]:
    """Stop signals of a worker: those that it receives, and those of the launching process.

    If ``kedro run`` is killed, its workers stop with a checkpoint. If ``deepdepixelate worker`` is,
    they end at once, as if their host had failed: the training waits for another one.
    """
    received: list[int] = []
    # Never restored: after a second signal the worker must still reach its checkpoint.
    for number in {*unignored_signals(), Signals.SIGINT}:
        signal.signal(number, lambda number, frame: received.append(number))
    shared.training.value = 1

    def stop_signal() -> Signals | None:
        if _is_orphan():
            if joined:
                os._exit(1)
            return Signals.SIGTERM
        number = shared.stop.value or next(iter(received), None)
        return Signals(number) if number else None

    yield stop_signal


def _is_orphan() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _discard(step: int, metrics: Any) -> None:
    """The log of a worker that is not the writer."""
