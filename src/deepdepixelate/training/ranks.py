"""One training on several processes: who does what, and what they tell each other.

Each process (rank) takes its slice of the same global batch. Gradients are averaged over the ranks
after each backward pass: for networks of this size one flat all-reduce costs less than the
machinery that would hide it, and nothing is wrapped, so that weights keep their names.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from deepdepixelate.errors import UserError, failure_message
from deepdepixelate.training.interruption import StopRequest, stop_requests

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that train together; the default is alone.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
        writer: the rank that validates, logs and writes.
        sync_batch_norm: whether batch-norm statistics are those of the global batch.
        restarts: how often the ranks were started again after one of them died.
        device: the device of this rank; None leaves it to the parameters.
        trained_by: where all is done and this process only reads the result: how many have trained.
        stopping: while it lasts, tells which signal asked this rank to stop.
    """

    rank: int = 0
    count: int = 1
    writer: int = 0
    sync_batch_norm: bool = True
    restarts: int = 0
    device: str | None = None
    trained_by: int | None = None
    stopping: Callable[[], AbstractContextManager[StopRequest]] = stop_requests

    @property
    def is_writer(self) -> bool:
        """Whether this rank validates, logs and writes."""
        return self.rank == self.writer

    def slice_of(self, batch_size: int) -> slice:
        """This rank's part of a global batch, whose size must be a multiple of ``count``."""
        share = batch_size // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def prepare(self, network: nn.Module) -> None:
        """Make a network's batch-norms see the global batch, where that is asked for."""
        if self.count > 1 and self.sync_batch_norm:
            _synchronise_batch_norm(network)

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
        """The mean over the ranks of a tensor of any shape, without gradients; all must ask."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def average(self, values: Mapping[str, float]) -> dict[str, float]:
        """Means of numbers over the ranks; all of them must ask."""
        gathered = self.gather(dict(values))
        return {name: sum(each[name] for each in gathered) / self.count for name in values}

    def gather(self, value: Value) -> list[Value]:
        """What each rank has, in their order; all of them must ask."""
        if self.count == 1:
            return [value]
        gathered: list[Any] = [None] * self.count
        dist.all_gather_object(gathered, value)
        return gathered

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """What one rank raises inside ends them all at the end of it; all of them must enter.

        Otherwise the others would wait, where they next talk, for one that has left. Inside, the
        ranks must not talk to each other.

        Raises:
            UserError: on all ranks, if it was raised on any of them.
            RuntimeError: another rank raised something else.
        """
        if self.count == 1:
            yield
            return
        raised: Exception | None = None
        try:
            yield
        except Exception as error:
            raised = error
        mine = None if raised is None else (failure_message(raised), f"{raised!r}")
        said = next((each for each in self.gather(mine) if each is not None), None)
        if said is None:
            return
        message, description = said
        if message is not None:
            raise UserError(message) from raised
        if raised is not None:
            raise raised
        raise RuntimeError(f"another of the processes that train together raised {description}")


ALONE = Ranks()
"""One process trains by itself."""


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch-norm over the batches of all ranks, on devices where PyTorch's own cannot (CPU)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in the base class
        """(N, C, h, w) to the same shape; see ``torch.nn.BatchNorm2d``."""
        if not self.training:
            evaluated: Tensor = super().forward(input)
            return evaluated
        values = input.float()
        moments = torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
        summed: Tensor = _SumOverRanks.apply(moments)  # type: ignore[no-untyped-call]
        mean, square = summed / dist.get_world_size()
        variance = (square - mean.square()).clamp_min(0)
        self._update_running(mean.detach(), variance.detach(), values)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        normalised = values * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        output: Tensor = normalised.to(input.dtype)
        return output

    def _update_running(self, mean: Tensor, variance: Tensor, values: Tensor) -> None:
        assert self.running_mean is not None  # noqa: S101 - as constructed
        assert self.running_var is not None  # noqa: S101
        assert self.num_batches_tracked is not None  # noqa: S101
        self.num_batches_tracked += 1
        count = values.numel() // values.shape[1] * dist.get_world_size()
        momentum = self.momentum
        if momentum is None:  # a cumulative average, as update_bn wants it
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


def _synchronise_batch_norm(network: nn.Module) -> None:
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _synchronised(child))


def _synchronised(norm: nn.BatchNorm2d) -> nn.Module:
    if norm.weight.is_cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return converted
    twin = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    twin.load_state_dict(norm.state_dict())
    return twin
