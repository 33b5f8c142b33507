"""One training on several processes (ranks): shares of the batch, gradients, agreement.

Each rank takes its slice of the same global batch. Gradients are averaged over the ranks after each
backward pass. For networks of this size one flat all-reduce costs less than overlapping it with the
backward pass (DistributedDataParallel), and unwrapped networks keep the names of their weights.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from signal import Signals
from time import monotonic
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from deepdepixelate.errors import UserError, failure_message
from deepdepixelate.training.interruption import ReceivedSignal, catch_stop_signals

Value = TypeVar("Value")

_SECONDS_BETWEEN_CHECKS = 1.0


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; the default is a single process.

    Attributes:
        rank: number of this process, from 0.
        count: number of processes.
        writer: the rank that validates, logs and writes checkpoints.
        sync_batch_norm: whether batch-norm statistics are those of the global batch.
        restarts: how often the processes were restarted after one of them died.
        device: the device of this rank; None takes that of the parameters.
        trained_by: set in a process that only reads the result of a finished training: the number
            of processes that trained.
        stop_signals: context manager that catches the signals which ask this rank to stop.
    """

    rank: int = 0
    count: int = 1
    writer: int = 0
    sync_batch_norm: bool = True
    restarts: int = 0
    device: str | None = None
    trained_by: int | None = None
    stop_signals: Callable[[], AbstractContextManager[ReceivedSignal]] = catch_stop_signals

    @property
    def is_writer(self) -> bool:
        """Whether this rank validates, logs and writes checkpoints."""
        return self.rank == self.writer

    def slice_of(self, batch_size: int) -> slice:
        """This rank's part of a global batch, whose size must be a multiple of ``count``."""
        share = batch_size // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def synchronise_batch_norms(self, network: nn.Module) -> None:
        """Compute batch statistics over the global batch, if ``sync_batch_norm`` is set."""
        if self.count == 1 or not self.sync_batch_norm:
            return
        if str(self.device).startswith("cuda"):
            nn.SyncBatchNorm.convert_sync_batchnorm(network)
            return
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = GlobalBatchNorm2d

    def average_gradients(self, network: nn.Module) -> None:
        """Replace each rank's gradients by their mean over the ranks."""
        if self.count == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, averaged in zip(gradients, flat.split(sizes), strict=True):
            gradient.copy_(averaged.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks of a tensor of any shape, without gradients; collective."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def average(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean over the ranks of each number; collective."""
        gathered = self.gather(dict(values))
        return {name: sum(each[name] for each in gathered) / self.count for name in values}

    def gather(self, value: Value) -> list[Value]:
        """The values of all ranks, in their order; collective."""
        if self.count == 1:
            return [value]
        gathered: list[Any] = [None] * self.count
        dist.all_gather_object(gathered, value)
        return gathered

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Raise an error of one rank on all ranks, when the block ends; collective.

        Otherwise the others would wait for the failed one in their next collective. The block
        itself must not contain any.

        Raises:
            UserError: on all ranks, if any of them raised one.
            RuntimeError: another rank raised a different error.
        """
        if self.count == 1:
            yield
            return
        raised: Exception | None = None
        try:
            yield
        except Exception as error:
            raised = error
        mine = None if raised is None else (failure_message(raised), repr(raised))
        failure = next((each for each in self.gather(mine) if each is not None), None)
        if failure is None:
            return
        message, description = failure
        if message is not None:
            raise UserError(message) from raised
        if raised is not None:
            raise raised
        raise RuntimeError(f"another process of this training raised {description}")


ALONE = Ranks()
"""Training on a single process."""


class AgreedStop:
    """Lets all ranks stop after the same update, about a second after one received a signal.

    The ranks wait for their GPUs whenever they compare. So they compare only every few updates, as
    many as take a second.
    """

    def __init__(self, ranks: Ranks, received: ReceivedSignal) -> None:
        self._ranks = ranks
        self._received = received
        self._interval = 1
        self._updates_left = 1
        self._since = monotonic()

    def check(self) -> Signals | None:
        """The signal that asks to stop, if any; collective, to be called after each update."""
        if self._ranks.count == 1:
            return self._received()
        self._updates_left -= 1
        if self._updates_left:
            return None
        now = monotonic()
        answers = self._ranks.gather((self._received(), now - self._since))
        slowest = max(seconds for _, seconds in answers)
        change = min(2.0, _SECONDS_BETWEEN_CHECKS / max(slowest, 1e-3))
        self._interval = max(1, int(self._interval * change))
        self._updates_left, self._since = self._interval, now
        return next((number for number, _ in answers if number is not None), None)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch-norm over the batches of all ranks on a CPU; ``SyncBatchNorm`` is for GPUs only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in the base class
        """(N, C, h, w) to the same shape; see ``torch.nn.BatchNorm2d``."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        moments = torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
        mean, square = _sum_over_ranks(moments) / dist.get_world_size()
        variance = (square - mean.square()).clamp_min(0)
        self._update_running(mean.detach(), variance.detach(), values)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        normalised: Tensor = values * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        return normalised.to(input.dtype)

    def _update_running(self, mean: Tensor, variance: Tensor, values: Tensor) -> None:
        assert self.running_mean is not None  # noqa: S101 - as constructed
        assert self.running_var is not None  # noqa: S101
        assert self.num_batches_tracked is not None  # noqa: S101
        self.num_batches_tracked += 1
        count = values.numel() // values.shape[1] * dist.get_world_size()
        momentum = self.momentum
        if momentum is None:  # update_bn: the mean over all batches
            momentum = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), momentum)


class _SumOverRanks(torch.autograd.Function):
    """An all-reduce whose gradient is one, too: every rank's loss depends on the sum."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed)
        return summed


_sum_over_ranks: Callable[[Tensor], Tensor] = _SumOverRanks.apply
