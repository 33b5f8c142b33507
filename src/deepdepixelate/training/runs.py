"""The two trainings, from pairs of images on disk to weights. One function each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from deepdepixelate.errors import UserError
from deepdepixelate.models.device import Compute, choose_compute, keep_freed_memory
from deepdepixelate.models.discriminator import DiscriminatorArchitecture, build_discriminator
from deepdepixelate.models.generator import (
    Generator,
    GeneratorArchitecture,
    freeze_batch_norms,
)
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
from deepdepixelate.training.fingerprint import FORMAT
from deepdepixelate.training.loop import Log
from deepdepixelate.training.objectives import AdversarialObjective, PretrainObjective
from deepdepixelate.training.ranks import ALONE, Ranks
from deepdepixelate.training.resuming import UNTRACKED, TrackedRun
from deepdepixelate.training.stage import History, Stage, TrainingData

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
    with ranks.agreeing():
        compute = _compute(training, ranks)
        architecture = GeneratorArchitecture(
            **settings.generator.model_dump(), scale=data.train.scale
        )
        with _seeded(training.seed):
            generator = Generator(architecture)
        fingerprint = _fingerprint("pretrain", data, settings, training, compute, ranks)
        if settings.start_from is not None:
            start = initial_weights(settings.start_from, architecture)
            generator = build_generator(start)
            fingerprint["start_from"] = start.digest
        if settings.batch_norm == "frozen":
            freeze_batch_norms(generator)
        objective = PretrainObjective(generator, compute, ranks, loss=settings.loss)
        stage = Stage("pretrain", objective, data, settings, training, compute, fingerprint)
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
    with ranks.agreeing():
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
                f"the pretrained generator enlarges {generator.architecture.scale} times, the data "
                f"is of scale {data.train.scale}. Run first: kedro run --pipeline pretrain (with "
                "the same --env)."
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
        fingerprint = _fingerprint("train_gan", data, settings, training, compute, ranks) | {
            "pretrained": pretrained.digest,
            "content_weights": None if content is None else digest(content.state_dict()),
        }
        stage = Stage("train_gan", objective, data, settings, training, compute, fingerprint)
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
    ranks: Ranks,
) -> dict[str, Any]:
    """Everything that decides the weights, as JSON values.

    How many processes trained counts where each takes the batch-norm statistics of its own share;
    else it decides no more than the order of sums.
    """
    processes = ranks.trained_by or ranks.count
    return {
        "format": FORMAT,
        "stage": stage,
        "settings": settings.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT),
        "seed": training.seed,
        "batch_norm_updates": training.batch_norm_updates,
        "sync_batch_norm": training.sync_batch_norm,
        "processes": None if training.sync_batch_norm or processes == 1 else processes,
        "precision": compute.precision,
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
