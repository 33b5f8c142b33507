"""Discriminators: they distinguish HR images from the generator's."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.parametrizations import spectral_norm

from deepdepixelate.limits import DISCRIMINATOR_STRIDE

DiscriminatorKind = Literal["paper", "unet"]


class DiscriminatorArchitecture(BaseModel):
    """The parameters that determine the shapes of a discriminator's weights.

    Attributes:
        kind: ``paper`` for ``Discriminator``, ``unet`` for ``UNetDiscriminator``.
        channels: feature channels of the first layer, doubled three times; 64 in both papers.
        dense: units of the hidden dense layer of ``paper``; 1024 in the paper.
        crop_size: side of the square HR crops, in pixels; None (whole images) for ``unet`` only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: DiscriminatorKind = "paper"
    channels: int = Field(ge=1)
    dense: int = Field(ge=1)
    crop_size: int | None = Field(ge=DISCRIMINATOR_STRIDE, multiple_of=DISCRIMINATOR_STRIDE)


class Discriminator(nn.Module):
    """The discriminator of SRGAN (figure 4 of the paper); 23.56 M parameters at 96x96.

    Input: HR or SR crops, (N, 3, crop_size, crop_size), in [-1, 1]. Output: logits, (N, 1); above
    zero means HR. The loss applies the sigmoid.
    """

    def __init__(self, architecture: DiscriminatorArchitecture) -> None:
        super().__init__()
        if architecture.crop_size is None:
            raise ValueError("this discriminator needs crops of one size")
        width = architecture.channels
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            *_layer(width, width, stride=2),
            *_layer(width, 2 * width, stride=1),
            *_layer(2 * width, 2 * width, stride=2),
            *_layer(2 * width, 4 * width, stride=1),
            *_layer(4 * width, 4 * width, stride=2),
            *_layer(4 * width, 8 * width, stride=1),
            *_layer(8 * width, 8 * width, stride=2),
        )
        side = architecture.crop_size // DISCRIMINATOR_STRIDE
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * width * side * side, architecture.dense),
            nn.LeakyReLU(0.2),
            nn.Linear(architecture.dense, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] to logits (N, 1); see the class."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class UNetDiscriminator(nn.Module):
    """A U-Net with one logit per pixel, and spectral normalisation in place of batch-norm.

    From Schoenfeld et al. (arXiv 2002.12655) and Real-ESRGAN (arXiv 2107.10833, section 3.4). Its
    gradient shows the generator where an image looks wrong, and crops of a batch do not influence
    each other. 4.4 M parameters with 64 channels.

    Input: HR or SR crops, (N, 3, H, W), in [-1, 1], sides multiples of 8. Output: logits,
    (N, 1, H, W); above zero means HR.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False))
            for width in (channels, 2 * channels, 4 * channels)
        )
        self.up = nn.ModuleList(
            _normalised(2 * width, width) for width in (4 * channels, 2 * channels, channels)
        )
        self.last = nn.Sequential(
            _normalised(channels, channels),
            nn.LeakyReLU(0.2),
            _normalised(channels, channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 1, 3, padding=1),
        )
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] to logits (N, 1, H, W); see the class."""
        features = self.activation(self.first(images))
        skipped = []
        for convolution in self.down:
            skipped.append(features)
            features = self.activation(convolution(features))
        for convolution, skip in zip(self.up, reversed(skipped), strict=True):
            larger = interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = self.activation(convolution(larger)) + skip
        logits: Tensor = self.last(features)
        return logits


def build_discriminator(architecture: DiscriminatorArchitecture) -> nn.Module:
    """A new discriminator with random weights."""
    if architecture.kind == "unet":
        return UNetDiscriminator(architecture.channels)
    return Discriminator(architecture)


def _layer(inputs: int, outputs: int, *, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2),
    )


def _normalised(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
