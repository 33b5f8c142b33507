"""The training loop, for both kinds of update, from scratch or from a checkpoint."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from deepdepixelate.models.generator import Generator, from_pixels
from deepdepixelate.parameters import Schedule, TrainingParameters
from deepdepixelate.training.checkpoints import Checkpoint, CheckpointStore
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.distributed import ALONE, AgreedStop, Ranks
from deepdepixelate.training.interruption import InterruptionError
from deepdepixelate.training.learning_rate import learning_rate_at
from deepdepixelate.training.monitoring import Health, LossAverager
from deepdepixelate.training.steps import TrainingStep

logger = logging.getLogger(__name__)

Log = Callable[[int, Mapping[str, float]], None]
"""Takes the number of updates done and the values measured there."""

History = list[dict[str, float]]
"""One row per logged point: ``update`` and the values measured there."""

_PROGRESS_BAR = {
    "loss": ("loss", "{:.5f}"),
    "val.psnr_y": ("val PSNR", "{:.2f} dB"),
    "crops_per_second": ("crops/s", "{:.0f}"),
}
"""Values in the progress bar, with label and format."""


@dataclass(frozen=True)
class TrackedRun:
    """The run in which a training is recorded.

    Attributes:
        run_id: saved in each checkpoint.
        resumed: called with the run id and the update of the checkpoint that is resumed.
    """

    run_id: str | None = None
    resumed: Callable[[str, int], None] = lambda run_id, update: None


UNTRACKED = TrackedRun()
"""The training is not recorded."""


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        updates: done so far.
        history: the logged points.
        losses: since the last logged point.
    """

    updates: int = 0
    history: History = field(default_factory=list)
    losses: LossAverager = field(default_factory=LossAverager)


def resume(
    name: str,
    updates: int,
    step: TrainingStep,
    checkpoints: CheckpointStore,
    *,
    run: TrackedRun = UNTRACKED,
    ranks: Ranks = ALONE,
) -> Progress:
    """Load the newest checkpoint, if there is one, into a new ``step``; collective.

    Args:
        name: of the stage, for the log.
        updates: of the whole training.
        step: as at the start of the training.
        checkpoints: of this training.
        run: is notified of the run that wrote the checkpoint.
        ranks: the processes that train together; all load the checkpoint that the writer finds.

    Raises:
        UserError: the system cannot read a checkpoint now.
    """
    progress = Progress()
    with ranks.agreeing():
        found = checkpoints.latest() if ranks.is_writer else None
    path = ranks.gather(None if found is None else found.path)[ranks.writer]
    with ranks.agreeing():
        if path is not None:
            checkpoint = found or checkpoints.read(path)
            step.load_state_dict(checkpoint.state["objective"])
            progress.losses.load_state_dict(checkpoint.state["window"])
            progress.history = checkpoint.state["history"]
            progress.updates = checkpoint.update
    if found is not None:
        _report_resumption(found, name, updates, checkpoints, run)
    elif ranks.is_writer and (other := checkpoints.differences()) is not None:
        folder, settings = other
        logger.info(
            "%s starts from scratch: it differs from the training in %s, which is kept, in %s",
            name,
            folder,
            ", ".join(f"{each} ({old} -> {new})" for each, (old, new) in settings.items()),
        )
    return progress


def _report_resumption(
    checkpoint: Checkpoint, name: str, updates: int, checkpoints: CheckpointStore, run: TrackedRun
) -> None:
    earlier_run = checkpoint.state["run_id"]
    if earlier_run is not None:
        run.resumed(earlier_run, checkpoint.update)
    folder = checkpoints.folder if checkpoint.path is None else checkpoint.path.parent
    if checkpoint.update == updates:
        if run.run_id is not None and earlier_run == run.run_id:
            return  # trained just now, by the processes of this run
        how = "was finished by an earlier run with these settings and data, which is reused,"
    elif folder != checkpoints.folder:
        how = "shares its first updates with another training and resumes it"
    else:
        how = "resumes"
    logger.info("%s %s after update %d (checkpoint in %s)", name, how, checkpoint.update, folder)


def train(
    step: TrainingStep,
    crops: CropSampler,
    progress: Progress,
    *,
    name: str,
    settings: Schedule,
    training: TrainingParameters,
    validate: Callable[[Generator], Mapping[str, float]],
    checkpoints: CheckpointStore,
    log: Log,
    run: TrackedRun = UNTRACKED,
    ranks: Ranks = ALONE,
) -> History:
    """Train from ``progress`` to the last update.

    Returns:
        One row per logged point, those before a resumption included: ``update``, the mean losses
        since the point before, ``learning_rate`` of the generator, ``crops_per_second``, and the
        values of ``validate`` at updates with a validation.

    Raises:
        InterruptionError: a signal stopped the training; there is a checkpoint to resume from.
        UserError: a loss or weight is not finite, or a checkpoint cannot be written.
    """
    losses = progress.losses
    losses.restart_clock()
    health = Health(name, checkpoints)
    first, updates = progress.updates, settings.updates
    bar = tqdm(
        total=updates,
        initial=first,
        desc=name,
        unit="update",
        disable=not ranks.is_writer,
    )
    with bar, ranks.stop_signals() as received:
        agreed_stop = AgreedStop(ranks, received)
        for update in range(first, updates):
            rate = _set_learning_rates(step, settings, update)
            losses.add(step.update(*crops.batch(update)))
            bar.update()

            done = update + 1
            last = done == updates
            stop = agreed_stop.check()
            to_log = done % training.log_every == 0 or last
            to_validate = done % settings.validate_every == 0 or last
            to_checkpoint = done % settings.checkpoint_every == 0 or last or stop is not None
            if not (to_log or to_validate or to_checkpoint):
                continue

            measured: dict[str, float] = {}
            means = losses.means(ranks)
            health.check_losses(means, done)
            if to_log:
                speed = losses.updates_per_second()
                measured = {
                    **means,
                    "learning_rate": rate,
                    "crops_per_second": speed * crops.batch_size,
                }
                health.check_discriminator(means, done)
                losses.reset()
                warmed_up = done - first == 2 * training.log_every
                if ranks.is_writer and warmed_up and not last:
                    logger.info(
                        "%s: expect %.0f crops/s and about %s for the %d updates left, plus "
                        "validations",
                        name,
                        measured["crops_per_second"],
                        tqdm.format_interval((updates - done) / speed),
                        updates - done,
                    )
            if last and training.batch_norm_updates:
                further = range(updates, updates + training.batch_norm_updates)
                _reestimate_batch_norm(step.result, crops, further)
            with ranks.agreeing():
                if ranks.is_writer:
                    if to_validate:
                        measured |= validate(step.result)
                    if measured:
                        progress.history.append({"update": done, **measured})
                        log(done, measured)
                        bar.set_postfix(_for_progress_bar(progress.history))
                    if to_checkpoint:
                        health.check_weights(step.result, done)
                        state = {  # the names of the file format
                            "objective": step.state_dict(),
                            "window": losses.state_dict(),
                            "history": progress.history,
                            "run_id": run.run_id,
                        }
                        checkpoints.save(Checkpoint(done, state))
            if stop is not None and not last:
                raise InterruptionError(
                    f"{name} was stopped by {stop.name} after update {done} of "
                    f"{updates}, with a checkpoint in {checkpoints.folder}. "
                    f"{checkpoints.how_to_resume()}",
                    stop,
                )
            losses.restart_clock()
    return progress.history


def _set_learning_rates(step: TrainingStep, settings: Schedule, update: int) -> float:
    """Set each optimizer's learning rate for an update; returns the generator's."""
    rates = []
    for optimizer, begin in zip(step.optimizers, step.first_updates, strict=True):
        rates.append(learning_rate_at(update, settings.updates, settings.learning_rate, begin))
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]
    return rates[0]


def _reestimate_batch_norm(generator: Generator, crops: CropSampler, updates: range) -> None:
    """Replace the running batch-norm statistics by the mean over further updates' batches.

    Running statistics are noisy. For an averaged generator they are also wrong: they are averages
    over batches that other weights saw.
    """
    update_bn((from_pixels(crops.batch(update)[0]) for update in updates), generator)


def _for_progress_bar(history: History) -> dict[str, str]:
    newest: dict[str, float] = {}
    for row in history[-20:]:
        newest |= row
    return {
        label: form.format(newest[name])
        for name, (label, form) in _PROGRESS_BAR.items()
        if name in newest
    }
