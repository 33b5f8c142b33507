"""A training that is ready to run: what is trained, on what, and as which settings say."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError, first_line
from deepdepixelate.models.device import Compute
from deepdepixelate.parameters import Schedule, TrainingParameters
from deepdepixelate.training.checkpoints import CheckpointStore
from deepdepixelate.training.compilation import compile_networks
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.loop import Log, Plan, train
from deepdepixelate.training.objectives import AdversarialObjective, PretrainObjective
from deepdepixelate.training.pixels import fits_on_device
from deepdepixelate.training.ranks import Ranks
from deepdepixelate.training.resuming import TrackedRun, resume
from deepdepixelate.training.validation import Validator

logger = logging.getLogger(__name__)

History = list[dict[str, float]]


@dataclass(frozen=True)
class TrainingData:
    """What a training reads, and the folder for the checkpoints of its kind."""

    train: ImagePairs
    val: ImagePairs
    checkpoints: Path


@dataclass(frozen=True)
class Stage:
    """A training that is ready to run."""

    name: str
    objective: PretrainObjective | AdversarialObjective
    data: TrainingData
    settings: Schedule
    training: TrainingParameters
    compute: Compute
    fingerprint: Mapping[str, Any]

    def run(self, log: Log, run: TrackedRun, ranks: Ranks) -> History:
        """Go on from the last checkpoint, or begin, and train to the end.

        The images are read only where there is something left to train.
        """
        settings, updates = self.settings, self.settings.updates
        begins_anew = settings.restart and ranks.restarts == 0 and ranks.trained_by is None
        with ranks.agreeing():
            checkpoints = CheckpointStore(
                self.data.checkpoints,
                self.fingerprint,
                self.training.checkpoints_kept,
                restart=f"{self.name}.restart=true" if settings.restart else None,
            )
            if begins_anew and ranks.is_writer:
                checkpoints.clear()
        progress = resume(self.name, updates, self.objective, checkpoints, run=run, ranks=ranks)
        if progress.updates == updates:
            return progress.history
        if ranks.trained_by is not None:
            raise UserError(
                f"the last checkpoint in {checkpoints.folder} could not be read. "
                f"{checkpoints.way_on()}"
            )
        with ranks.agreeing():
            crops = self._crops(ranks)
        if self.compute.compiled:
            compile_networks(self.objective, *crops.batch(0))
        plan = Plan(
            name=self.name,
            updates=updates,
            learning_rate=settings.learning_rate,
            log_every=self.training.log_every,
            validate_every=settings.validate_every,
            checkpoint_every=settings.checkpoint_every,
            batch_norm_updates=self.training.batch_norm_updates,
        )
        validator = Validator(self.data.val, settings.validation_images, self.compute.device)
        try:
            return train(
                self.objective,
                crops,
                plan,
                progress,
                validate=validator,
                checkpoints=checkpoints,
                log=lambda done, measured: log(done, {**measured, **self.compute.peak_memory()}),
                run=run,
                ranks=ranks,
            )
        except RuntimeError as error:
            if not (self.training.deterministic and "deterministic" in str(error)):
                raise
            raise UserError(
                f"{self.name} cannot be deterministic on {self.compute} ({first_line(error)}). Set "
                "training.deterministic=false, or choose other networks and losses."
            ) from error

    def _crops(self, ranks: Ranks) -> CropSampler:
        """Check the images, and open them as they fit into the device's memory."""
        train = self.data.train
        if ranks.is_writer:
            train.verify()
            self.data.val.verify()
        resident = fits_on_device(train, self.compute.device)
        crops = CropSampler(
            train,
            crop_size=self.settings.crop_size,
            batch_size=self.settings.batch_size,
            seed=self.training.seed,
            device=self.compute.device,
            ranks=ranks,
            resident=resident,
        )
        if ranks.is_writer and ranks.restarts == 0:
            logger.info(
                "%s on %s%s; %d training images of %dx%d, %s %s",
                self.name,
                self.compute,
                f" in each of {ranks.count} processes" if ranks.count > 1 else "",
                len(train),
                *reversed(train.hr.manifest.shape[:2]),
                "in its memory from" if resident else "memory-mapped from",
                train.hr.directory.parent.parent,
            )
        return crops
