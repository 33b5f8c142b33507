"""Parameters of both trainings."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from deepdepixelate.models.discriminator import SHRINKING, DiscriminatorKind
from deepdepixelate.models.shift_tolerant import SMALLEST_SIDE
from deepdepixelate.parameters.types import Count, Fraction, Positive, Section, UserPath


class TrainingParameters(Section):
    """What both trainings share.

    Attributes:
        seed: of the weights and of the crops; equal seeds give equal runs on one machine.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: bf16 autocast; fp32; or tf32, fp32 that a CUDA GPU multiplies in TF32. auto takes
            bf16 where the hardware has it, else fp32.
        deterministic: on a GPU, only kernels that give the same bits each time; slower. An
            operation that has none stops the training.
        compile: fuse the networks with torch.compile; auto does on a CUDA GPU, by itself and not
            deterministic. Where compiling fails, training goes on without it.
        log_every: updates between two points of the curves.
        batch_norm_updates: training batches from which the batch-norm statistics of the final
            generator are estimated again; 0 keeps the running ones.
        checkpoints_kept: how many of the newest checkpoints stay.
        devices: processes on this host, a GPU each: a number, or auto for all GPUs (one on a CPU).
        hosts: how many hosts train together.
        rendezvous: HOST:PORT where several hosts meet; HOST is this one.
        max_restarts: how often the processes are started again after one of them died.
        sync_batch_norm: batch-norm statistics of the whole batch, not of each process's share. With
            false, another number of processes is another training.
    """

    seed: Annotated[int, Field(ge=0)]
    device: str
    precision: Literal["auto", "bf16", "fp32", "tf32"]
    deterministic: bool
    compile: Literal["auto"] | bool
    log_every: Count
    batch_norm_updates: Annotated[int, Field(ge=0)]
    checkpoints_kept: Count
    devices: Literal["auto"] | Count
    hosts: Count
    rendezvous: str | None
    max_restarts: Annotated[int, Field(ge=0)]
    sync_batch_norm: bool

    @model_validator(mode="after")
    def _hosts_have_a_meeting_point(self) -> "TrainingParameters":
        if self.hosts > 1 and not re.fullmatch(r"[^:\s]+:\d+", self.rendezvous or ""):
            raise ValueError(
                "several hosts need training.rendezvous=HOST:PORT, HOST being this one"
            )
        return self


class LearningRate(Section):
    """Adam's learning rate over the updates of a training.

    Attributes:
        initial: the rate at the first update.
        schedule: constant; cosine, to zero at the last update; or steps.
        decay_at: for steps: the fractions of all updates at which the rate is multiplied.
        decay_factor: for steps: by what.
        warm_up: updates over which the rate rises to what the schedule says, from the first one in
            which a network learns: weights that are trained already suffer from Adam's first
            steps, whose size knows no gradient yet.
    """

    initial: Positive
    schedule: Literal["constant", "cosine", "steps"]
    decay_at: tuple[Fraction, ...] = ()
    decay_factor: Positive = 0.1
    warm_up: Annotated[int, Field(ge=0)] = 0


class GeneratorParameters(Section):
    """The generator's size; its scale is that of the data.

    Attributes:
        blocks: residual blocks, 16 in the paper.
        channels: feature channels, 64 in the paper.
    """

    blocks: Count
    channels: Count


class Schedule(Section):
    """What a training repeats, and how often.

    Attributes:
        updates: optimisation steps in all. More of them go on from a training of fewer, where its
            rates are the first ones of this schedule.
        batch_size: crops an update.
        crop_size: side of the square HR crops, in pixels; a multiple of the scale.
        learning_rate: see LearningRate.
        validate_every: updates between two validations.
        validation_images: images of the val split that are used for it, the first ones.
        checkpoint_every: updates between two checkpoints.
        batch_norm: learned, from each batch, as in the paper; or frozen: the statistics of the
            generator that the training begins with, moved into its convolutions.
        restart: train from scratch, even if this training has checkpoints or is finished.
    """

    updates: Count
    batch_size: Count
    crop_size: Count
    learning_rate: LearningRate
    validate_every: Count
    validation_images: Count
    checkpoint_every: Count
    batch_norm: Literal["learned", "frozen"]
    restart: bool


class PretrainParameters(Schedule):
    """Training of the generator on pixels alone (SRResNet); see also its base.

    Attributes:
        generator: its size.
        loss: mse, of all pixels, as in the paper; or psnr: minus the mean PSNR of the crops, for
            which one with little texture counts as much as one with a lot.
        start_from: weights to begin with: srresnet or srgan, from the package, or a file; null for
            random ones.
    """

    generator: GeneratorParameters
    loss: Literal["mse", "psnr"]
    start_from: str | None

    @model_validator(mode="after")
    def _there_are_statistics_to_freeze(self) -> "PretrainParameters":
        if self.batch_norm == "frozen" and self.start_from is None:
            raise ValueError(
                "batch_norm=frozen needs trained weights to begin with: see pretrain.start_from"
            )
        return self


class DiscriminatorParameters(Section):
    """The discriminator's kind and size.

    Attributes:
        kind: paper, that of SRGAN; or unet, that of Real-ESRGAN, which judges each pixel.
        channels: feature channels of the first layer, 64 in either paper.
        dense: units of the hidden dense layer, 1024 in the paper; unet has none.
    """

    kind: DiscriminatorKind
    channels: Count
    dense: Count


class TrainGanParameters(Schedule):
    """Adversarial training of the generator (SRGAN); see also its base.

    Attributes:
        discriminator: its size.
        content: the content loss: mse; VGG19 features at vgg22 or vgg54; or st_lpips, features of
            the VGG16 of shift-tolerant LPIPS.
        vgg_weights: file with the VGG19 weights; null for torchvision's own.
        vgg_feature_scale: factor on the features; null for 1/12.75 (vgg54) or 1 (vgg22).
        pixel_weight: factor on the mean absolute error of the pixels, beside the content loss; 0
            for none, as in the paper.
        adversarial_weight: factor on the adversarial loss, 1e-3 in the paper.
        ema_decay: of the averaged generator that is kept; 0 keeps the last one as it is.
        discriminator_head_start: updates at the beginning in which only the discriminator learns:
            an untrained one teaches the generator noise.
        shift: before they are judged, HR and SR crops are rolled by fewer pixels than this, drawn
            again for each update, so that the generator learns no grid from the strides of the
            networks that judge it; 0 does not roll them.
        grid_weight: factor on a loss of visible grids and shifts of colour, which repeat with each
            LR pixel; 0 for none, as in the paper.
    """

    discriminator: DiscriminatorParameters
    content: Literal["mse", "vgg22", "vgg54", "st_lpips"]
    vgg_weights: UserPath | None
    vgg_feature_scale: Positive | None
    pixel_weight: Annotated[float, Field(ge=0)]
    adversarial_weight: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    discriminator_head_start: Annotated[int, Field(ge=0)]
    shift: Annotated[int, Field(ge=0)]
    grid_weight: Annotated[float, Field(ge=0)]

    @field_validator("crop_size")
    @classmethod
    def _crop_suits_the_discriminator(cls, crop_size: int) -> int:
        if crop_size % SHRINKING:
            raise ValueError(f"crop_size must be a multiple of {SHRINKING}, not {crop_size}")
        return crop_size

    @model_validator(mode="after")
    def _crop_suits_the_content_network(self) -> "TrainGanParameters":
        if self.content == "st_lpips" and self.crop_size < SMALLEST_SIDE["vgg"]:
            raise ValueError(
                f"content=st_lpips needs a crop_size of at least {2 * SHRINKING}, "
                f"not {self.crop_size}"
            )
        return self
