"""The training loop: the same for both objectives, and for a first run and a resumed one."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from signal import Signals

from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from deepdepixelate.models.generator import Generator, from_pixels
from deepdepixelate.parameters import LearningRate
from deepdepixelate.training.checkpoints import Checkpoint, CheckpointStore
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.health import Health
from deepdepixelate.training.interruption import InterruptionError
from deepdepixelate.training.objectives import Objective
from deepdepixelate.training.ranks import ALONE, Ranks
from deepdepixelate.training.rates import learning_rate_at, set_learning_rate
from deepdepixelate.training.resuming import UNTRACKED, Progress, TrackedRun
from deepdepixelate.training.stops import Stops

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


def train(
    objective: Objective,
    crops: CropSampler,
    plan: Plan,
    progress: Progress,
    *,
    validate: Callable[[Generator], Mapping[str, float]],
    checkpoints: CheckpointStore,
    log: Log,
    run: TrackedRun = UNTRACKED,
    ranks: Ranks = ALONE,
) -> list[dict[str, float]]:
    """Train from where an objective stands to the end of the plan.

    Returns:
        What was logged, one row per point: ``update``, the mean losses since the point before,
        ``learning_rate`` of the generator, ``crops_per_second``, and the figures of ``Validator``
        where there was a validation. Rows of the part before a resumption are among them.

    Raises:
        InterruptionError: Ctrl-C or SIGTERM asked to stop; there is a checkpoint to go on from.
        UserError: a loss is not finite, or a checkpoint cannot be written.
    """
    window = progress.window
    window.restart_clock()
    health = Health(plan.name, checkpoints)
    first = progress.updates
    bar = tqdm(
        total=plan.updates,
        initial=first,
        desc=plan.name,
        unit="update",
        disable=not ranks.is_writer,
    )
    with bar, ranks.stopping() as stop_request:
        stops = Stops(ranks, stop_request)
        for update in range(first, plan.updates):
            rates = _set_learning_rates(objective, plan, update)
            window.add(objective.step(*crops.batch(update)))
            bar.update()

            done = update + 1
            last = done == plan.updates
            asked = stops.asked()
            to_log = done % plan.log_every == 0 or last
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
                    "learning_rate": rates[0],
                    "crops_per_second": speed * crops.batch_size,
                }
                health.watch_discriminator(measured, done)
                window.clear()
                if ranks.is_writer and done - first == 2 * plan.log_every:  # warmed up by then
                    _announce_speed(plan, done, speed, crops.batch_size)
            if last:
                _reestimate_batch_norm(objective.result, crops, plan)
            with ranks.agreeing():
                if ranks.is_writer:
                    if to_validate:
                        measured |= validate(objective.result)
                    if measured:
                        progress.note(done, measured)
                        log(done, measured)
                        bar.set_postfix(progress.shown())
                    if to_checkpoint:
                        health.check_weights(objective.result, done)
                        checkpoints.save(Checkpoint(done, progress.state(objective, run)))
            if asked is not None and not last:
                name = Signals(asked).name
                raise InterruptionError(
                    f"{plan.name} was stopped by {name} after update {done} of {plan.updates} and "
                    f"left a checkpoint in {checkpoints.folder}. {checkpoints.way_on()}",
                    Signals(asked),
                )
            window.restart_clock()
    return progress.history


def _set_learning_rates(objective: Objective, plan: Plan, update: int) -> list[float]:
    """Set each optimizer's rate for an update; those rates, in the objective's order."""
    rates = []
    for optimizer, begin in zip(objective.optimizers, objective.begins, strict=True):
        rates.append(learning_rate_at(update, plan.updates, plan.learning_rate, begin))
        set_learning_rate(optimizer, rates[-1])
    return rates


def _announce_speed(plan: Plan, done: int, updates_per_second: float, batch_size: int) -> None:
    logger.info(
        "%s: expect %.0f crops/s and about %s for the %d updates left, validations apart",
        plan.name,
        updates_per_second * batch_size,
        tqdm.format_interval((plan.updates - done) / updates_per_second),
        plan.updates - done,
    )


def _reestimate_batch_norm(generator: Generator, crops: CropSampler, plan: Plan) -> None:
    """Replace the running statistics, an average over few and noisy batches, by those of many.

    An averaged generator needs it most: its weights never saw the batches whose statistics were
    averaged along with them.
    """
    if plan.batch_norm_updates:
        updates = range(plan.updates, plan.updates + plan.batch_norm_updates)
        update_bn((from_pixels(crops.batch(update)[0]) for update in updates), generator)
