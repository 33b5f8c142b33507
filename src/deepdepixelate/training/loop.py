"""The training loop: the same for both objectives, and for a first run and a resumed one."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from signal import Signals

from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from deepdepixelate.models.generator import Generator, from_pixels
from deepdepixelate.parameters import LearningRate
from deepdepixelate.training.checkpoints import Checkpoint, CheckpointStore
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.curves import Window
from deepdepixelate.training.health import Health
from deepdepixelate.training.interruption import InterruptionError, stop_requests
from deepdepixelate.training.objectives import Objective
from deepdepixelate.training.ranks import ALONE, Ranks

logger = logging.getLogger(__name__)

Log = Callable[[int, Mapping[str, float]], None]
"""Takes the number of updates done and what was measured there."""


@dataclass(frozen=True)
class TrackedRun:
    """Who keeps the record of a training, so that a resumed one can name the run before.

    Attributes:
        run_id: goes into each checkpoint.
        resumed: is told the id in the checkpoint that a training goes on from, and its update.
    """

    run_id: str | None = None
    resumed: Callable[[str, int], None] = lambda run_id, update: None


UNTRACKED = TrackedRun()
"""Nobody keeps a record."""


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
    initial = rate.initial * min(1.0, (update + 1) / (rate.warm_up + 1))
    if rate.schedule == "cosine":
        return initial * (1 + math.cos(math.pi * progress)) / 2
    if rate.schedule == "steps":
        return initial * rate.decay_factor ** sum(progress >= at for at in rate.decay_at)
    return initial


def train(
    objective: Objective,
    crops: CropSampler,
    plan: Plan,
    *,
    validate: Callable[[Generator], Mapping[str, float]],
    checkpoints: CheckpointStore,
    log: Log,
    run: TrackedRun = UNTRACKED,
    ranks: Ranks = ALONE,
) -> list[dict[str, float]]:
    """Train from the last checkpoint, or from the beginning, to the end of the plan.

    Returns:
        What was logged, a row a point: ``update``, the mean losses since the point before,
        ``learning_rate``, ``crops_per_second``, and the figures of ``Validator`` where there
        was a validation. Rows of the part before a resumption are among them.

    Raises:
        InterruptionError: Ctrl-C or SIGTERM asked to stop; there is a checkpoint to go on from.
        UserError: a loss is not finite, or a checkpoint cannot be written.
    """
    progress = _Progress()
    window = Window()
    health = Health(plan.name, checkpoints.folder)
    with ranks.writer_first():
        first = _resume(objective, plan, checkpoints, progress, window, run)
    finished_by_this_run = first == plan.updates and ranks.restarts > 0
    bar = tqdm(
        total=plan.updates,
        initial=first,
        desc=plan.name,
        unit="update",
        disable=not ranks.is_writer or finished_by_this_run,
    )
    with bar, stop_requests() as stop_request:
        for update in range(first, plan.updates):
            rate = learning_rate_at(update, plan.updates, plan.learning_rate)
            _set_learning_rate(objective, rate)
            window.add(objective.step(*crops.batch(update)))
            bar.update()

            done = update + 1
            last = done == plan.updates
            to_log = done % plan.log_every == 0 or last
            asked: int | None = stop_request()
            if ranks.count > 1:  # all stop together, at a point where they talk anyway
                asked = ranks.agree(asked) if to_log else None
            to_validate = done % plan.validate_every == 0 or last
            to_checkpoint = done % plan.checkpoint_every == 0 or last or asked is not None
            if not (to_log or to_validate or to_checkpoint):
                continue

            measured: dict[str, float] = {}
            losses = window.read(ranks)
            health.check_losses(losses, done)
            if to_log:
                speed = window.updates_per_second()
                measured = {
                    **losses,
                    "learning_rate": rate,
                    "crops_per_second": speed * crops.batch_size,
                }
                health.watch_discriminator(measured, done)
                window.clear()
                if ranks.is_writer and done - first == 2 * plan.log_every:  # warmed up by then
                    _announce_speed(plan, done, speed, crops.batch_size)
            if last:
                _reestimate_batch_norm(objective.result, crops, plan)
            if not ranks.is_writer:
                measured = {}
            elif to_validate:
                measured |= validate(objective.result)
            if measured:
                progress.note(done, measured)
                log(done, measured)
                bar.set_postfix(progress.shown())
            improved = progress.improved(measured)
            if ranks.is_writer and (to_checkpoint or improved):
                health.check_weights(objective.result, done)
                state = {
                    "objective": objective.state(),
                    "window": window.state(),
                    "history": progress.history,
                    "run_id": run.run_id,
                }
                if improved:
                    checkpoints.save_best(Checkpoint(done, state))
                if to_checkpoint:
                    checkpoints.save(Checkpoint(done, state))
            if asked is not None and not last:
                raise InterruptionError(
                    f"{plan.name} was stopped by {Signals(asked).name} after update {done} of "
                    f"{plan.updates} and left a checkpoint in {checkpoints.folder}. Run the same "
                    "command again: it goes on from there.",
                    Signals(asked),
                )
            window.restart_clock()
    return progress.history


class _Progress:
    """What was measured so far, and the best of it."""

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []

    def note(self, update: int, measured: Mapping[str, float]) -> None:
        self.history.append({"update": update, **measured})

    def improved(self, measured: Mapping[str, float]) -> bool:
        """Whether this point, already noted, has the best validation PSNR of all."""
        psnr = measured.get("val.psnr_y")
        return psnr is not None and all(
            psnr > row["val.psnr_y"] for row in self.history[:-1] if "val.psnr_y" in row
        )

    def shown(self) -> dict[str, str]:
        """The newest of each, for the progress bar."""
        newest: dict[str, float] = {}
        for row in self.history[-20:]:
            newest |= row
        labels = {"loss": "{:.5f}", "val.psnr_y": "{:.2f} dB", "crops_per_second": "{:.0f}"}
        names = {"val.psnr_y": "val PSNR", "crops_per_second": "crops/s"}
        return {
            names.get(name, name): label.format(newest[name])
            for name, label in labels.items()
            if name in newest
        }


def _resume(
    objective: Objective,
    plan: Plan,
    checkpoints: CheckpointStore,
    progress: _Progress,
    window: Window,
    run: TrackedRun,
) -> int:
    """Restore the last checkpoint, if there is one; the number of updates done."""
    found = checkpoints.latest()
    if found is None:
        if (other := checkpoints.differences()) is not None:
            folder, settings = other
            logger.info(
                "%s begins anew: it differs from the training in %s, which is kept, by %s",
                plan.name,
                folder,
                ", ".join(f"{name} ({old} -> {new})" for name, (old, new) in settings.items()),
            )
        return 0
    objective.restore(found.state["objective"])
    window.restore(found.state["window"])
    progress.history = found.state["history"]
    if (earlier := found.state["run_id"]) is not None:
        run.resumed(earlier, found.update)
    finished = found.update == plan.updates
    if finished and run.run_id is not None and found.state["run_id"] == run.run_id:
        return found.update  # by other processes of this very run
    if finished:
        how = "was finished by an earlier run with these settings and data and is reused,"
    else:
        how = "goes on"
    logger.info(
        "%s %s after update %d (checkpoint in %s)",
        plan.name,
        how,
        found.update,
        checkpoints.folder,
    )
    return found.update


def _announce_speed(plan: Plan, done: int, updates_per_second: float, batch_size: int) -> None:
    logger.info(
        "%s: expect %.0f crops/s and about %s for the %d updates left, validations apart",
        plan.name,
        updates_per_second * batch_size,
        tqdm.format_interval((plan.updates - done) / updates_per_second),
        plan.updates - done,
    )


def _set_learning_rate(objective: Objective, rate: float) -> None:
    for optimizer in objective.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def _reestimate_batch_norm(generator: Generator, crops: CropSampler, plan: Plan) -> None:
    """Replace the running statistics, an average over few and noisy batches, by those of many.

    An averaged generator needs it most: its weights never saw the batches whose statistics were
    averaged along with them.
    """
    if plan.batch_norm_updates:
        updates = range(plan.updates, plan.updates + plan.batch_norm_updates)
        update_bn((from_pixels(crops.batch(update)[0]) for update in updates), generator)
