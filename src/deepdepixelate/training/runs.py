"""The two trainings, from pairs of images on disk to weights. One function each."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepdepixelate.errors import UserError
from deepdepixelate.imaging.shards import ImagePairs
from deepdepixelate.models.discriminator import DiscriminatorArchitecture, build_discriminator
from deepdepixelate.models.frozen import freeze_batch_norms
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
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
from deepdepixelate.training.checkpoints import CheckpointStore
from deepdepixelate.training.compilation import compile_networks
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.device import Compute, choose_compute, keep_freed_memory
from deepdepixelate.training.loop import UNTRACKED, Log, Plan, TrackedRun, train
from deepdepixelate.training.objectives import AdversarialObjective, PretrainObjective
from deepdepixelate.training.pixels import fits_on_device
from deepdepixelate.training.ranks import ALONE, Ranks
from deepdepixelate.training.validation import Validator

_NOT_IN_FINGERPRINT = {
    "validate_every",
    "validation_images",
    "checkpoint_every",
    "restart",
    "start_from",
    "vgg_weights",
}
"""Settings that change what is watched and kept, but no weight; and names of weights, whose digests
count instead, wherever the files lie."""

logger = logging.getLogger(__name__)

History = list[dict[str, float]]


@dataclass(frozen=True)
class TrainingData:
    """What a training reads, and the folder for the checkpoints of its kind."""

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
        Its weights, whose provenance holds the fingerprint of the training, and the history.

    Raises:
        UserError: the settings do not fit the data or the machine, or the training broke off.
    """
    compute = _compute(training, ranks)
    architecture = GeneratorArchitecture(**settings.generator.model_dump(), scale=data.train.scale)
    with _seeded(training.seed):
        generator = Generator(architecture)
    fingerprint = _fingerprint("pretrain", data, settings, training, compute)
    if settings.start_from is not None:
        start = initial_weights(settings.start_from, architecture)
        generator = build_generator(start)
        fingerprint["start_from"] = start.digest
    if settings.batch_norm == "frozen":
        freeze_batch_norms(generator)
    objective = PretrainObjective(generator, compute, ranks, loss=settings.loss)
    stage = _Stage("pretrain", objective, data, settings, training, compute, fingerprint)
    history = stage.run(log, run, ranks)
    return _generator_weights(objective.result, fingerprint), history


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
        UserError: as ``pretrain``; the content loss's weights cannot be had; or the pretrained
            weights do not fit the data.
    """
    compute = _compute(training, ranks)
    with _seeded(training.seed):
        judge = DiscriminatorArchitecture(
            **settings.discriminator.model_dump(), crop_size=settings.crop_size
        )
        discriminator = build_discriminator(judge)
        generator = build_generator(pretrained)
        content = content_network(settings)
    if generator.architecture.scale != data.train.scale:
        raise UserError(
            f"the pretrained generator enlarges {generator.architecture.scale} times, the data is "
            f"of scale {data.train.scale}. Run first: kedro run --pipeline pretrain (with the same "
            "--env)."
        )
    if settings.batch_norm == "frozen":
        freeze_batch_norms(generator)
    objective = AdversarialObjective(
        generator,
        discriminator,
        content,
        compute,
        adversarial_weight=settings.adversarial_weight,
        ema_decay=settings.ema_decay,
        pixel_weight=settings.pixel_weight,
        head_start=settings.discriminator_head_start,
        shift=settings.shift,
        grid_weight=settings.grid_weight,
        ranks=ranks,
    )
    fingerprint = _fingerprint("train_gan", data, settings, training, compute) | {
        "pretrained": pretrained.digest,
        "content_weights": None if content is None else digest(content.state_dict()),
    }
    stage = _Stage("train_gan", objective, data, settings, training, compute, fingerprint)
    history = stage.run(log, run, ranks)
    discriminator_weights = Weights(
        kind="discriminator",
        architecture=judge.model_dump(),
        tensors=_cpu_state(objective.discriminator),
        provenance={"fingerprint": fingerprint},
    )
    return _generator_weights(objective.result, fingerprint), discriminator_weights, history


def initial_weights(name: str, architecture: GeneratorArchitecture) -> Weights:
    """Weights that a training begins with.

    Raises:
        UserError: they cannot be found or read, or are of another architecture.
    """
    weights = find_generator(name)
    found = build_generator(weights).architecture
    if found != architecture:
        raise UserError(
            f"the weights {name} (pretrain.start_from) are of {found.blocks} blocks of "
            f"{found.channels} channels for {found.scale}x; the training asks for "
            f"{architecture.blocks} of {architecture.channels} for {architecture.scale}x."
        )
    return weights


def content_network(
    settings: TrainGanParameters,
) -> PerceptualNetwork | ShiftTolerantTrunk | None:
    """The network of the content loss; None for ``mse``.

    Raises:
        UserError: its weights cannot be had; the message says what to put where.
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
    """A training that is ready to run: what is trained, on what, and as which settings say."""

    name: str
    objective: PretrainObjective | AdversarialObjective
    data: TrainingData
    settings: Schedule
    training: TrainingParameters
    compute: Compute
    fingerprint: Mapping[str, Any]

    def run(self, log: Log, run: TrackedRun, ranks: Ranks) -> History:
        """Go on from the last checkpoint, or begin, and train to the end."""
        data, settings, training = self.data, self.settings, self.training
        if ranks.is_writer:
            data.train.verify()
            data.val.verify()
        resident = fits_on_device(data.train, self.compute.device)
        crops = CropSampler(
            data.train,
            crop_size=settings.crop_size,
            batch_size=settings.batch_size,
            seed=training.seed,
            device=self.compute.device,
            ranks=ranks,
            resident=resident,
        )
        checkpoints = CheckpointStore(data.checkpoints, self.fingerprint, training.checkpoints_kept)
        if settings.restart and ranks.is_writer and ranks.restarts == 0:
            checkpoints.clear()
        plan = Plan(
            name=self.name,
            updates=settings.updates,
            learning_rate=settings.learning_rate,
            log_every=training.log_every,
            validate_every=settings.validate_every,
            checkpoint_every=settings.checkpoint_every,
            batch_norm_updates=training.batch_norm_updates,
        )
        if ranks.is_writer and ranks.restarts == 0:
            self._announce(ranks, resident)
        if self.compute.compiled and checkpoints.updates_done() < plan.updates:
            compile_networks(self.objective, *crops.batch(0))
        return train(
            self.objective,
            crops,
            plan,
            validate=Validator(data.val, settings.validation_images, self.compute.device),
            checkpoints=checkpoints,
            log=lambda update, measured: log(update, {**measured, **self.compute.peak_memory()}),
            run=run,
            ranks=ranks,
        )

    def _announce(self, ranks: Ranks, resident: bool) -> None:
        logger.info(
            "%s on %s%s; %d training images of %dx%d, %s %s",
            self.name,
            self.compute,
            f" in each of {ranks.count} processes" if ranks.count > 1 else "",
            len(self.data.train),
            *reversed(self.data.train.hr.manifest.shape[:2]),
            "in its memory from" if resident else "memory-mapped from",
            self.data.train.hr.directory.parent.parent,
        )


def _compute(training: TrainingParameters, ranks: Ranks) -> Compute:
    device = ranks.device or training.device
    compute = choose_compute(device, training.precision, deterministic=training.deterministic)
    if compute.device.type == "cpu":
        keep_freed_memory()
    if training.compile == "auto":
        # Several processes' batch-norms talk to each other, which breaks the graphs apart.
        on_gpu = compute.device.type == "cuda"
        compiled = on_gpu and ranks.count == 1 and not training.deterministic
    else:
        compiled = training.compile
    return replace(compute, compiled=compiled)


def _fingerprint(
    stage: str,
    data: TrainingData,
    settings: Schedule,
    training: TrainingParameters,
    compute: Compute,
) -> dict[str, Any]:
    """Everything that decides the weights, as JSON values."""
    return {
        "stage": stage,
        "settings": settings.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT),
        "seed": training.seed,
        "batch_norm_updates": training.batch_norm_updates,
        "sync_batch_norm": training.sync_batch_norm,
        "precision": "bf16" if compute.bf16 else "fp32",
        "device": compute.device.type,
        "hr": data.train.hr.manifest.digest,
        "lr": data.train.lr.manifest.digest,
        "scale": data.train.scale,
    }


def _generator_weights(generator: Generator, fingerprint: Mapping[str, Any]) -> Weights:
    return Weights(
        kind="generator",
        architecture=generator.architecture.model_dump(),
        tensors=_cpu_state(generator),
        provenance={"fingerprint": dict(fingerprint)},
    )


def _cpu_state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initialise weights from a seed and leave the process's own random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
