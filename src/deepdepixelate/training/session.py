"""What both trainings do around their updates: device, fingerprint, data, the loop, weights."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError, first_line
from deepdepixelate.models.device import Compute, choose_compute, keep_freed_memory
from deepdepixelate.models.generator import Generator
from deepdepixelate.models.weights import Weights
from deepdepixelate.parameters import Schedule, TrainingParameters
from deepdepixelate.training.checkpoints import FORMAT, CheckpointStore
from deepdepixelate.training.crops import CropSampler, fits_on_device
from deepdepixelate.training.distributed import Ranks
from deepdepixelate.training.monitoring import Validator
from deepdepixelate.training.steps import TrainingStep
from deepdepixelate.training.trainer import History, Log, TrackedRun, resume, train

logger = logging.getLogger(__name__)

_NOT_IN_FINGERPRINT = {
    "validate_every",
    "validation_images",
    "checkpoint_every",
    "restart",
    "start_from",
    "vgg_weights",
}
"""Parameters that change no weight, and names of weights: their digests count instead."""


@dataclass(frozen=True)
class TrainingData:
    """Image pairs, and the folder for the checkpoints of all trainings of one kind."""

    train: ImagePairs
    val: ImagePairs
    checkpoints: Path


@dataclass(frozen=True)
class Session:
    """One training of a stage, from its parameters to its weights."""

    name: str
    data: TrainingData
    settings: Schedule
    training: TrainingParameters
    ranks: Ranks

    @cached_property
    def compute(self) -> Compute:
        """Device and precision.

        Raises:
            UserError: they are not available.
        """
        training, ranks = self.training, self.ranks
        compute = choose_compute(
            ranks.device or training.device,
            training.precision,
            deterministic=training.deterministic,
        )
        if compute.device.type == "cpu":
            keep_freed_memory()
        if training.compile == "auto":
            # Synchronised batch-norms communicate, which breaks the compiled graphs apart.
            on_gpu = compute.device.type == "cuda"
            compiled = on_gpu and ranks.count == 1 and not training.deterministic
        else:
            compiled = training.compile
        return replace(compute, compiled=compiled)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the weights, as JSON values.

        The number of processes counts only if each has its own batch-norm statistics. Otherwise it
        changes no more than the order of sums.
        """
        training, train = self.training, self.data.train
        processes = self.ranks.trained_by or self.ranks.count
        return {
            "format": FORMAT,
            "stage": self.name,
            "settings": self.settings.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT),
            "seed": training.seed,
            "batch_norm_updates": training.batch_norm_updates,
            "sync_batch_norm": training.sync_batch_norm,
            "processes": None if training.sync_batch_norm or processes == 1 else processes,
            "precision": self.compute.precision,
            "device": self.compute.device.type,
            "hr": train.hr.manifest.digest,
            "lr": train.lr.manifest.digest,
            "scale": train.scale,
        }

    def train(
        self, step: TrainingStep, fingerprint: Mapping[str, Any], log: Log, run: TrackedRun
    ) -> History:
        """Train from the last checkpoint, or from scratch, to the end.

        The images are opened only if there is something left to train.
        """
        settings, ranks = self.settings, self.ranks
        with ranks.agreeing():
            checkpoints = CheckpointStore(
                self.data.checkpoints,
                fingerprint,
                self.training.checkpoints_kept,
                restart=f"{self.name}.restart=true" if settings.restart else None,
            )
            first_start = ranks.restarts == 0 and ranks.trained_by is None
            if settings.restart and first_start and ranks.is_writer:
                checkpoints.clear()
        progress = resume(self.name, settings.updates, step, checkpoints, run=run, ranks=ranks)
        if progress.updates == settings.updates:
            return progress.history
        if ranks.trained_by is not None:
            raise UserError(
                f"the last checkpoint in {checkpoints.folder} could not be read. "
                f"{checkpoints.how_to_resume()}"
            )
        with ranks.agreeing():
            crops = self._open_crops()
        if self.compute.compiled:
            step.compile(*crops.batch(0))
        try:
            return train(
                step,
                crops,
                progress,
                name=self.name,
                settings=settings,
                training=self.training,
                validate=Validator(self.data.val, settings.validation_images, self.compute.device),
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

    def generator_weights(
        self,
        generator: Generator,
        fingerprint: Mapping[str, Any],
        history: History,
        start: Weights | None,
    ) -> Weights:
        """The weights of a training that began with ``start``, or with random weights.

        Their provenance: fingerprint, kind of LR images, how training images were cropped if not
        whole, last validation, lineage of ``start``.
        """
        val, last = self.data.val, history[-1] if history else {}  # workers have no history
        crops = self.data.train.hr.manifest.details.get("training_crops")
        return Weights(
            kind="generator",
            architecture=generator.architecture.model_dump(),
            tensors=cpu_state(generator),
            provenance={
                "fingerprint": dict(fingerprint),
                "degrade.kind": self.data.train.lr.manifest.details.get("kind", "bicubic"),
                **({"ingest.training_crops": crops} if crops else {}),
                "validation": {
                    "hr": val.hr.manifest.digest,
                    "lr": val.lr.manifest.digest,
                    "images": min(self.settings.validation_images, len(val)),
                    **{
                        name.removeprefix("val."): value
                        for name, value in last.items()
                        if name.startswith("val.")
                    },
                },
                **({} if start is None else {"trained_from": start.lineage()}),
            },
        )

    def _open_crops(self) -> CropSampler:
        """Verify the images, and load them into the device's memory if they fit."""
        train, ranks = self.data.train, self.ranks
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
                "%s on %s%s: %d images of %dx%d, %s",
                self.name,
                self.compute,
                f" in each of {ranks.count} processes" if ranks.count > 1 else "",
                len(train),
                *reversed(train.hr.manifest.shape[:2]),
                "in its memory" if resident else "memory-mapped",
            )
        return crops


def cpu_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the tensors of a network, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
