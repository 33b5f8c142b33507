"""Where a training stands: at its beginning, or at the checkpoint that it goes on from."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepdepixelate.training.checkpoints import Checkpoint, CheckpointStore
from deepdepixelate.training.curves import Window
from deepdepixelate.training.objectives import Objective
from deepdepixelate.training.ranks import ALONE, Ranks

logger = logging.getLogger(__name__)


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


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        updates: done so far.
        history: what was logged, one row per point.
        window: the losses since the last point.
    """

    updates: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    window: Window = field(default_factory=Window)

    def note(self, update: int, measured: Mapping[str, float]) -> None:
        """Add a row."""
        self.history.append({"update": update, **measured})

    def state(self, objective: Objective, run: TrackedRun) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "objective": objective.state(),
            "window": self.window.state(),
            "history": self.history,
            "run_id": run.run_id,
        }

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


def resume(
    name: str,
    updates: int,
    objective: Objective,
    checkpoints: CheckpointStore,
    *,
    run: TrackedRun = UNTRACKED,
    ranks: Ranks = ALONE,
) -> Progress:
    """Put an objective where its training was left; all ranks must ask.

    Args:
        name: of the stage.
        updates: of the whole training.
        objective: as it is at the beginning.
        checkpoints: of the training.
        run: is told of the run that wrote the checkpoint.
        ranks: the processes that train together; all take the checkpoint that the writer finds.

    Raises:
        UserError: a checkpoint cannot be read.
    """
    progress = Progress()
    with ranks.agreeing():
        found = checkpoints.latest() if ranks.is_writer else None
    path = ranks.gather(None if found is None else found.path)[ranks.writer]
    with ranks.agreeing():
        if path is not None:
            checkpoint = found or checkpoints.read(path)
            objective.restore(checkpoint.state["objective"])
            progress.window.restore(checkpoint.state["window"])
            progress.history = checkpoint.state["history"]
            progress.updates = checkpoint.update
    if found is not None:
        _tell_of(found, name, updates, checkpoints.folder, run)
    elif ranks.is_writer and (other := checkpoints.differences()) is not None:
        folder, settings = other
        logger.info(
            "%s starts from scratch: it differs from the training in %s, which is kept, by %s",
            name,
            folder,
            ", ".join(f"{each} ({old} -> {new})" for each, (old, new) in settings.items()),
        )
    return progress


def _tell_of(
    checkpoint: Checkpoint, name: str, updates: int, folder: Path, run: TrackedRun
) -> None:
    where = folder if checkpoint.path is None else checkpoint.path.parent
    if (earlier := checkpoint.state["run_id"]) is not None:
        run.resumed(earlier, checkpoint.update)
    finished = checkpoint.update == updates
    if finished and run.run_id is not None and earlier == run.run_id:
        return  # by other processes of this very run
    if finished:
        how = "was finished by an earlier run with these settings and data and is reused,"
    elif where != folder:
        how = "begins with what another training did, which is the same so far: it goes on"
    else:
        how = "goes on"
    logger.info("%s %s after update %d (checkpoint in %s)", name, how, checkpoint.update, where)
