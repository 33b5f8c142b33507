"""Parameters of both trainings."""

import re
from typing import Literal

from pydantic import NonNegativeInt, field_validator, model_validator

from deepdepixelate.limits import DISCRIMINATOR_STRIDE, ST_LPIPS_SIDE
from deepdepixelate.parameters.types import (
    Count,
    Device,
    Fraction,
    FractionBelowOne,
    Positive,
    Section,
    UserPath,
    Weight,
)


class TrainingParameters(Section):
    """Shared by ``pretrain`` and ``train_gan``."""

    seed: NonNegativeInt
    """Random seed of the weights and crops. Equal seeds give equal runs on one machine."""
    device: Device
    precision: Literal["auto", "bf16", "fp32", "tf32"]
    """bf16 autocast, fp32, or fp32 with TF32 matrix products (CUDA). auto: bf16 if the hardware
    supports it, else fp32."""
    deterministic: bool
    """On a GPU: use only deterministic kernels. Slower; an operation without one is an
    error."""
    compile: Literal["auto"] | bool
    """Use torch.compile. auto: on one CUDA GPU, unless deterministic. If compilation fails, the
    training continues without it."""
    log_every: Count
    """Updates between two points of the curves."""
    batch_norm_updates: NonNegativeInt
    """Training batches from which the final generator's batch-norm statistics are recomputed; 0
    keeps the running statistics."""
    checkpoints_kept: Count
    """Number of latest checkpoints to keep."""
    devices: Literal["auto"] | Count
    """Processes on this host, one per GPU; auto: all GPUs, or one process on a CPU."""
    hosts: Count
    """Number of hosts that train together."""
    rendezvous: str | None
    """HOST:PORT at which several hosts meet; HOST is this host. The others run ``deepdepixelate
    worker``."""
    max_restarts: NonNegativeInt
    """How many times the processes are restarted, from the last checkpoint, after one died."""
    sync_batch_norm: bool
    """Compute batch-norm statistics over the whole batch, not per process. With false, results
    depend on the number of processes."""

    @model_validator(mode="after")
    def _hosts_have_a_rendezvous(self) -> "TrainingParameters":
        if self.hosts > 1 and not re.fullmatch(r"[^:\s]+:\d+", self.rendezvous or ""):
            raise ValueError(
                "several hosts need training.rendezvous=HOST:PORT, HOST being this one"
            )
        return self


class LearningRate(Section):
    """Adam's learning rate over the updates of a training."""

    initial: Positive
    """Learning rate at the start."""
    schedule: Literal["constant", "cosine", "steps"]
    """constant; cosine: falls to zero at the last update; steps: see decay_at and decay_factor."""
    decay_at: tuple[Fraction, ...] = ()
    """For steps: fractions of all updates at which the rate is multiplied by decay_factor."""
    decay_factor: Positive = 0.1
    """For steps: see decay_at."""
    warm_up: NonNegativeInt = 0
    """Updates over which the rate rises linearly, counted from a network's first update.
    Protects pretrained weights from Adam's first steps, which ignore the gradient's size."""


class GeneratorParameters(Section):
    """Size of the generator."""

    blocks: Count
    """Residual blocks; 16 in the paper."""
    channels: Count
    """Feature channels; 64 in the paper."""


class IdentityLoss(Section):
    """The distance between SR and HR faces in dlib's face recognition, added to the loss."""

    weight: Positive
    """Weight of the distance."""
    box: tuple[NonNegativeInt, NonNegativeInt, Count]
    """Left, top and side of the square that holds the face in all HR images, in pixels."""


class Schedule(Section):
    """Parameters that each training has for itself."""

    updates: Count
    """Updates (optimiser steps) in total. A larger number continues a finished training if its
    learning rates so far are those of the new schedule."""
    batch_size: Count
    """Crops per update, over all processes."""
    crop_size: Count | None
    """Side of the square HR crops, in pixels. A multiple of degrade.scale; for train_gan also of
    16. null: whole images."""
    learning_rate: LearningRate
    validate_every: Count
    """Updates between two validations."""
    validation_images: Count
    """Number of images of the val split that are used, the first ones."""
    checkpoint_every: Count
    """Updates between two checkpoints."""
    batch_norm: Literal["learned", "frozen"]
    """learned: from batch statistics, as in the paper. frozen: the initial weights' statistics,
    folded into the convolutions."""
    identity: IdentityLoss | None
    """Adds an identity loss; null: none, as in the paper. Needs crop_size=null, aligned faces and
    the extra ``identity``."""
    restart: bool
    """Train from scratch, even if this training is finished or has checkpoints."""

    @model_validator(mode="after")
    def _identity_needs_whole_images(self) -> "Schedule":
        if self.identity is not None and self.crop_size is not None:
            raise ValueError("an identity loss needs whole images: set crop_size=null")
        return self


class PretrainParameters(Schedule):
    """SRResNet: the generator, trained on pixels alone."""

    generator: GeneratorParameters
    loss: Literal["mse", "psnr"]
    """mse: mean squared error over all pixels, as in the paper. psnr: minus the mean PSNR of the
    crops, which weights smooth and textured crops alike."""
    start_from: str | None
    """Initial weights: srresnet or srgan (packaged), or a .safetensors file; null: random."""

    @model_validator(mode="after")
    def _frozen_needs_weights(self) -> "PretrainParameters":
        if self.batch_norm == "frozen" and self.start_from is None:
            raise ValueError(
                "batch_norm=frozen needs pretrained weights: set pretrain.start_from as well"
            )
        return self


class DiscriminatorParameters(Section):
    """Kind and size of the discriminator."""

    kind: Literal["paper", "unet"]
    """paper: SRGAN's, one logit per crop. unet: Real-ESRGAN's, one logit per pixel, no batch
    norm."""
    channels: Count
    """Feature channels of the first layer; 64 in both papers."""
    dense: Count
    """Units of the hidden dense layer; 1024 in the paper. Not used by unet."""
    start_from: UserPath | None
    """Initial weights: the discriminator.safetensors of an earlier training; null: random."""


class TrainGanParameters(Schedule):
    """SRGAN: SRResNet, trained further against a discriminator."""

    discriminator: DiscriminatorParameters
    content: Literal["mse", "vgg22", "vgg54", "st_lpips"]
    """Content loss: mse on pixels, or on features: of VGG19 (vgg22: relu2_2, vgg54: relu5_4), or of
    shift-tolerant LPIPS's VGG16 (st_lpips)."""
    vgg_weights: UserPath | None
    """File with a torchvision vgg19 state dict (.safetensors or .pth); null: downloaded by
    torchvision."""
    vgg_feature_scale: Positive | None
    """Factor on VGG features; null: 1/12.75 for vgg54, 1 for vgg22."""
    pixel_weight: Weight
    """Weight of the mean absolute error of the pixels; 0 in the paper."""
    adversarial_weight: Weight
    """Weight of the adversarial loss; 1e-3 in the paper."""
    ema_decay: FractionBelowOne
    """Decay of the exponential moving average of the generator, which is the result; 0 keeps the
    last generator."""
    discriminator_head_start: NonNegativeInt
    """Initial updates in which only the discriminator is trained: the gradients of an untrained one
    are noise."""
    shift: NonNegativeInt
    """Before the losses, HR and SR crops are rolled by a random offset below this number of pixels,
    so that the networks' strides leave no grid; 0: not rolled."""
    grid_weight: Weight
    """Weight of a loss on grids and colour shifts that repeat every LR pixel; 0 in the paper."""
    artifact_weight: Weight
    """Weight of a loss on specks, that of LDL (arXiv 2203.09195); 0 in the paper."""

    @field_validator("crop_size")
    @classmethod
    def _crop_suits_the_discriminator(cls, crop_size: int | None) -> int | None:
        if crop_size is not None and crop_size % DISCRIMINATOR_STRIDE:
            raise ValueError(
                f"crop_size must be a multiple of {DISCRIMINATOR_STRIDE}, not {crop_size}"
            )
        return crop_size

    @model_validator(mode="after")
    def _crop_suits_the_content_network(self) -> "TrainGanParameters":
        if self.crop_size is None:
            if self.discriminator.kind == "paper":
                raise ValueError("crop_size=null needs discriminator.kind=unet")
        elif self.content == "st_lpips" and self.crop_size < ST_LPIPS_SIDE:
            raise ValueError(
                f"content=st_lpips needs a crop_size of at least {2 * DISCRIMINATOR_STRIDE}, "
                f"not {self.crop_size}"
            )
        return self
