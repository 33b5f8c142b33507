"""The two trainings, from image pairs on disk to weights: one function each."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from deepdepixelate.errors import UserError
from deepdepixelate.models.discriminator import DiscriminatorArchitecture, build_discriminator
from deepdepixelate.models.face_descriptor import FaceDescriptor, load_face_descriptor
from deepdepixelate.models.generator import Generator, GeneratorArchitecture, freeze_batch_norms
from deepdepixelate.models.perceptual import (
    DEFAULT_FEATURE_SCALE,
    PerceptualNetwork,
    load_vgg19_weights,
)
from deepdepixelate.models.pretrained import find_generator
from deepdepixelate.models.shift_tolerant import ShiftTolerantTrunk, load_trunk
from deepdepixelate.models.weights import Weights, build_generator, digest, load_weights
from deepdepixelate.parameters import (
    PretrainParameters,
    Schedule,
    TrainGanParameters,
    TrainingParameters,
)
from deepdepixelate.training.adversarial import AdversarialStep
from deepdepixelate.training.distributed import ALONE, Ranks
from deepdepixelate.training.session import Session, TrainingData, cpu_state
from deepdepixelate.training.steps import PretrainStep
from deepdepixelate.training.trainer import UNTRACKED, History, Log, TrackedRun


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
    session = Session("pretrain", data, settings, training, ranks)
    with ranks.agreeing():
        architecture = GeneratorArchitecture(
            **settings.generator.model_dump(), scale=data.train.scale
        )
        with _seeded(training.seed):
            generator = Generator(architecture)
        fingerprint = session.fingerprint()
        start = None
        if settings.start_from is not None:
            start = find_generator(settings.start_from)
            generator = build_generator(start)
            _check_architecture(settings.start_from, generator.architecture, architecture)
            fingerprint["start_from"] = start.digest
        if settings.batch_norm == "frozen":
            freeze_batch_norms(generator)
        step = PretrainStep(
            generator,
            session.compute,
            ranks,
            loss=settings.loss,
            faces=face_descriptor(settings),
            identity_weight=0 if settings.identity is None else settings.identity.weight,
        )
    history = session.train(step, fingerprint, log, run)
    return session.generator_weights(step.result, fingerprint, history, start), history


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
    session = Session("train_gan", data, settings, training, ranks)
    with ranks.agreeing():
        with _seeded(training.seed):
            discriminator, architecture, start = new_discriminator(settings)
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
        step = AdversarialStep(
            generator,
            discriminator,
            content,
            settings,
            session.compute,
            ranks,
            faces=face_descriptor(settings),
        )
        fingerprint = session.fingerprint() | {
            "pretrained": pretrained.digest,
            "content_weights": None if content is None else digest(content.state_dict()),
        }
        fingerprint["settings"]["discriminator"]["start_from"] = start
    history = session.train(step, fingerprint, log, run)
    discriminator_weights = Weights(
        kind="discriminator",
        architecture=architecture.model_dump(),
        tensors=cpu_state(step.discriminator),
        provenance={"fingerprint": fingerprint},
    )
    generator_weights = session.generator_weights(step.result, fingerprint, history, pretrained)
    return generator_weights, discriminator_weights, history


def new_discriminator(
    settings: TrainGanParameters,
) -> tuple[nn.Module, DiscriminatorArchitecture, str | None]:
    """A discriminator with random weights, or with those that it shall start from.

    Returns:
        It; its architecture; the digest of the weights that it starts from, if not random.

    Raises:
        UserError: the weights to start from are missing, damaged or of another network.
    """
    asked = settings.discriminator
    architecture = DiscriminatorArchitecture(
        **asked.model_dump(exclude={"start_from"}), crop_size=settings.crop_size
    )
    discriminator = build_discriminator(architecture)
    if asked.start_from is None:
        return discriminator, architecture, None
    start = load_weights(asked.start_from)
    try:
        discriminator.load_state_dict(dict(start.tensors))
    except RuntimeError:
        found, wanted = (
            ", ".join(f"{name}={value}" for name, value in values.items())
            for values in (start.architecture, architecture.model_dump())
        )
        raise UserError(
            f"the weights {asked.start_from} (train_gan.discriminator.start_from) are of a "
            f"{start.kind} with {found}; the parameters ask for a discriminator with {wanted}."
        ) from None
    return discriminator, architecture, start.digest


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


def face_descriptor(settings: Schedule) -> FaceDescriptor | None:
    """The network of the identity loss; None without such a loss.

    Raises:
        UserError: its package is not installed, or damaged.
    """
    return None if settings.identity is None else load_face_descriptor(settings.identity.box)


def _check_architecture(
    name: str, found: GeneratorArchitecture, wanted: GeneratorArchitecture
) -> None:
    if found != wanted:
        raise UserError(
            f"the weights {name} (pretrain.start_from) have {found.blocks} blocks of "
            f"{found.channels} channels for {found.scale}x; the parameters ask for "
            f"{wanted.blocks} of {wanted.channels} for {wanted.scale}x."
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw weights from a seed, and restore the process's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
