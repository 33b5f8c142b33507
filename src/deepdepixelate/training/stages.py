"""The two trainings, from image pairs on disk to weights: one function each."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError, first_line
from deepdepixelate.models.device import Compute, choose_compute, keep_freed_memory
from deepdepixelate.models.discriminator import DiscriminatorArchitecture, build_discriminator
from deepdepixelate.models.generator import Generator, GeneratorArchitecture, freeze_batch_norms
from deepdepixelate.models.perceptual import (
    DEFAULT_FEATURE_SCALE,
    PerceptualNetwork,
    load_vgg19_weights,
)
from deepdepixelate.models.pretrained import find_generator
from deepdepixelate.models.shift_tolerant import ShiftTolerantTrunk, load_trunk
from deepdepixelate.models.weights import Weights, build_generator, digest
from deepdepixelate.parameters import (
    PretrainParameters,
    Schedule,
    TrainGanParameters,
    TrainingParameters,
)
from deepdepixelate.training.checkpoints import FORMAT, CheckpointStore
from deepdepixelate.training.crops import CropSampler, fits_on_device
from deepdepixelate.training.distributed import ALONE, Ranks
from deepdepixelate.training.monitoring import Validator
from deepdepixelate.training.steps import AdversarialStep, PretrainStep, TrainingStep
from deepdepixelate.training.trainer import (
    UNTRACKED,
    History,
    Log,
    TrackedRun,
    resume,
    train,
)

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


def pretrain(
    data: TrainingData,
    settings: PretrainParameters,
    training: TrainingParameters,
    log: Log,
    run: TrackedRun = UNTRACKED,
    ranks: Ranks = ALONE,
) -> tuple[Weights, History]:
    """Train SRResNet: the generator on the error of its pixels alone (section 2.2 of the paper).

    Returns:
        Its weights, whose provenance holds the training's fingerprint; and the history.

    Raises:
        UserError: the settings do not fit the data or the machine, or the training failed.
    """
    stage = _Stage("pretrain", data, settings, training, ranks)
    with ranks.agreeing():
        architecture = GeneratorArchitecture(
            **settings.generator.model_dump(), scale=data.train.scale
        )
        with _seeded(training.seed):
            generator = Generator(architecture)
        fingerprint = stage.fingerprint()
        if settings.start_from is not None:
            weights = find_generator(settings.start_from)
            generator = build_generator(weights)
            _check_architecture(settings.start_from, generator.architecture, architecture)
            fingerprint["start_from"] = weights.digest
        if settings.batch_norm == "frozen":
            freeze_batch_norms(generator)
        step = PretrainStep(generator, stage.compute, ranks, loss=settings.loss)
    history = stage.train(step, fingerprint, log, run)
    return stage.generator_weights(step.result, fingerprint, history), history


def train_gan(
    data: TrainingData,
    pretrained: Weights,
    settings: TrainGanParameters,
    training: TrainingParameters,
    log: Log,
    run: TrackedRun = UNTRACKED,
    ranks: Ranks = ALONE,
) -> tuple[Weights, Weights, History]:
    """Train SRGAN: the pretrained generator on content and adversarial loss (section 2.2).

    Returns:
        The generator's weights (their moving average), the discriminator's, and the history.

    Raises:
        UserError: as ``pretrain``; the weights of the content loss are missing; or the pretrained
            weights do not fit the data.
    """
    stage = _Stage("train_gan", data, settings, training, ranks)
    with ranks.agreeing():
        with _seeded(training.seed):
            architecture = DiscriminatorArchitecture(
                **settings.discriminator.model_dump(), crop_size=settings.crop_size
            )
            discriminator = build_discriminator(architecture)
            generator = build_generator(pretrained)
            content = content_network(settings)
        if generator.architecture.scale != data.train.scale:
            raise UserError(
                f"the pretrained generator enlarges {generator.architecture.scale} times, the data "
                f"is of scale {data.train.scale}. Run first: kedro run --pipeline pretrain (with "
                "the same --env)."
            )
        if settings.batch_norm == "frozen":
            freeze_batch_norms(generator)
        step = AdversarialStep(generator, discriminator, content, settings, stage.compute, ranks)
        fingerprint = stage.fingerprint() | {
            "pretrained": pretrained.digest,
            "content_weights": None if content is None else digest(content.state_dict()),
        }
    history = stage.train(step, fingerprint, log, run)
    discriminator_weights = Weights(
        kind="discriminator",
        architecture=architecture.model_dump(),
        tensors=_cpu_state(step.discriminator),
        provenance={"fingerprint": fingerprint},
    )
    generator_weights = stage.generator_weights(step.result, fingerprint, history)
    return generator_weights, discriminator_weights, history


def content_network(
    settings: TrainGanParameters,
) -> PerceptualNetwork | ShiftTolerantTrunk | None:
    """The network of the content loss; None for ``mse``.

    Raises:
        UserError: its weights are missing; the message says which file to put where.
    """
    if settings.content == "mse":
        return None
    if settings.content == "st_lpips":
        return load_trunk("vgg")
    weights = load_vgg19_weights(settings.content, settings.vgg_weights)
    scale = settings.vgg_feature_scale or DEFAULT_FEATURE_SCALE[settings.content]
    return PerceptualNetwork(settings.content, weights, scale)


@dataclass(frozen=True)
class _Stage:
    """What both trainings do around their update."""

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
        self, generator: Generator, fingerprint: Mapping[str, Any], history: History
    ) -> Weights:
        """The weights, whose provenance holds the fingerprint and the last validation."""
        val, last = self.data.val, history[-1] if history else {}  # workers have no history
        return Weights(
            kind="generator",
            architecture=generator.architecture.model_dump(),
            tensors=_cpu_state(generator),
            provenance={
                "fingerprint": dict(fingerprint),
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


def _check_architecture(
    name: str, found: GeneratorArchitecture, wanted: GeneratorArchitecture
) -> None:
    if found != wanted:
        raise UserError(
            f"the weights {name} (pretrain.start_from) have {found.blocks} blocks of "
            f"{found.channels} channels for {found.scale}x; the parameters ask for "
            f"{wanted.blocks} of {wanted.channels} for {wanted.scale}x."
        )


def _cpu_state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw weights from a seed, and restore the process's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
