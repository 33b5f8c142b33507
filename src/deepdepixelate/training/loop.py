"""The training loop: the same for both objectives, and for a first run and a resumed one."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from torch import Tensor
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from deepdepixelate.errors import UserError
from deepdepixelate.models.generator import Generator, from_pixels
from deepdepixelate.parameters import LearningRate
from deepdepixelate.training.checkpoints import Checkpoint, CheckpointStore
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.objectives import Objective

logger = logging.getLogger(__name__)

Log = Callable[[int, Mapping[str, float]], None]
"""Takes the number of updates done and what was measured there."""


@dataclass(frozen=True)
class Plan:
    """How long to train and how often to do what, in updates."""

    name: str
    updates: int
    learning_rate: LearningRate
    log_every: int
    validate_every: int
    checkpoint_every: int
    batch_norm_updates: int


def learning_rate_at(update: int, updates: int, rate: LearningRate) -> float:
    """The learning rate of an update, counted from 0, out of ``updates``."""
    progress = update / updates
    if rate.schedule == "cosine":
        return rate.initial * (1 + math.cos(math.pi * progress)) / 2
    if rate.schedule == "steps":
        return rate.initial * rate.decay_factor ** sum(progress >= at for at in rate.decay_at)
    return rate.initial


def train(
    objective: Objective,
    crops: CropSampler,
    plan: Plan,
    *,
    validate: Callable[[Generator], Mapping[str, float]],
    checkpoints: CheckpointStore,
    log: Log,
) -> list[dict[str, float]]:
    """Train from the last checkpoint, or from the beginning, to the end of the plan.

    Returns:
        What was logged, a row a point: ``update``, the mean losses since the point before,
        ``learning_rate``, ``crops_per_second``, and ``val.psnr_y`` and ``val.ssim_y`` where there
        was a validation. Rows of the part before a resumption are among them.

    Raises:
        UserError: a loss is not finite, or a checkpoint cannot be written.
    """
    history: list[dict[str, float]] = []
    window = _Window()
    first = 0
    if (found := checkpoints.latest()) is not None:
        first = found.update
        objective.restore(found.state["objective"])
        history = found.state["history"]
        window.restore(found.state["window"])
        finished = first == plan.updates
        logger.info(
            "%s %s after update %d (checkpoint in %s)",
            plan.name,
            "was finished by an earlier run with these settings and data and is reused"
            if finished
            else "goes on",
            first,
            checkpoints.folder,
        )
    elif (other := checkpoints.differences()) is not None:
        folder, settings = other
        logger.info(
            "%s begins anew: it differs from the training in %s, which is kept, by %s",
            plan.name,
            folder,
            ", ".join(f"{name} ({old} -> {new})" for name, (old, new) in settings.items()),
        )

    def note(update: int, measured: Mapping[str, float]) -> None:
        history.append({"update": update, **measured})
        log(update, measured)

    progress = tqdm(total=plan.updates, initial=first, desc=plan.name, unit="update")
    shown: dict[str, str] = {}
    with progress:
        for update in range(first, plan.updates):
            rate = learning_rate_at(update, plan.updates, plan.learning_rate)
            _set_learning_rate(objective, rate)
            window.add(objective.step(*crops.batch(update)))
            progress.update()

            done = update + 1
            last = done == plan.updates
            measured: dict[str, float] = {}
            to_log = done % plan.log_every == 0 or last
            to_checkpoint = done % plan.checkpoint_every == 0 or last
            if to_log or to_checkpoint:
                _check_finite(window.means(), done, plan.name, checkpoints)
            if to_log:
                measured = window.read(crops.batch_size)
                measured["learning_rate"] = rate
                shown["loss"] = f"{measured['loss']:.5f}"
            if last:
                _reestimate_batch_norm(objective.result, crops, plan)
            if done % plan.validate_every == 0 or last:
                measured |= validate(objective.result)
                shown["val PSNR"] = f"{measured['val.psnr_y']:.2f} dB"
            if measured:
                note(done, measured)
                progress.set_postfix(shown)
            if to_checkpoint:
                _check_weights(objective.result, done, plan.name, checkpoints)
                state = {
                    "objective": objective.state(),
                    "history": history,
                    "window": window.state(),
                }
                checkpoints.save(Checkpoint(done, state))
    return history


class _Window:
    """Mean losses and speed between two points of the curves, summed on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._restored = 0
        self._since = perf_counter()

    def add(self, losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss
        self._count += 1

    def means(self) -> dict[str, float]:
        return {name: float(value) / self._count for name, value in self._sums.items()}

    def read(self, batch_size: int) -> dict[str, float]:
        """The means and the speed, which counts this process's updates alone; begins anew."""
        means = self.means()
        now = perf_counter()
        timed = self._count - self._restored
        means["crops_per_second"] = timed * batch_size / (now - self._since)
        self._sums, self._count, self._restored, self._since = {}, 0, 0, now
        return means

    def state(self) -> dict[str, Any]:
        return {"sums": self._sums, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._sums = dict(state["sums"])
        self._count = self._restored = state["count"]


def _set_learning_rate(objective: Objective, rate: float) -> None:
    for optimizer in objective.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def _check_finite(
    measured: Mapping[str, float], done: int, name: str, checkpoints: CheckpointStore
) -> None:
    broken = {loss: value for loss, value in measured.items() if not math.isfinite(value)}
    if broken:
        raise _broken_off(f"{broken} is not finite", done, name, checkpoints)


def _check_weights(
    generator: Generator, done: int, name: str, checkpoints: CheckpointStore
) -> None:
    """A finite loss can have a gradient that is not; no checkpoint shall hold what it makes."""
    if not all(bool(weight.isfinite().all()) for weight in generator.parameters()):
        raise _broken_off("a weight of the generator is not finite", done, name, checkpoints)


def _broken_off(what: str, done: int, name: str, checkpoints: CheckpointStore) -> UserError:
    return UserError(
        f"{name} broke off at update {done}: {what}. The last good checkpoint is in "
        f"{checkpoints.folder}. Lower {name}.learning_rate.initial, or train in "
        "training.precision=fp32."
    )


def _reestimate_batch_norm(generator: Generator, crops: CropSampler, plan: Plan) -> None:
    """Replace the running statistics, an average over few and noisy batches, by those of many.

    An averaged generator needs it most: its weights never saw the batches whose statistics were
    averaged along with them.
    """
    if plan.batch_norm_updates:
        updates = range(plan.updates, plan.updates + plan.batch_norm_updates)
        update_bn((from_pixels(crops.batch(update)[0]) for update in updates), generator)
