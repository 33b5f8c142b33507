"""The generator: SRResNet when trained on MSE alone, SRGAN when trained against a discriminator."""

from typing import Any, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, pixel_shuffle, prelu

from deepdepixelate.limits import Scale
from deepdepixelate.models.autograd import apply

SCALES: tuple[int, ...] = get_args(Scale)


class GeneratorArchitecture(BaseModel):
    """What decides the shape of a generator's weights.

    Attributes:
        blocks: residual blocks, 16 in the paper.
        channels: feature channels, 64 in the paper.
        scale: how many times larger the output is: 2, 4 or 8.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: int = Field(ge=1)
    channels: int = Field(ge=1)
    scale: int

    @field_validator("scale")
    @classmethod
    def _scale_is_built_of_doublings(cls, scale: int) -> int:
        if scale not in SCALES:
            raise ValueError(f"the generator enlarges 2, 4 or 8 times, not {scale}")
        return scale


class PReLU(nn.PReLU):
    """``torch.nn.PReLU`` with one slope; on a CPU, in a third to a half of the time backward."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in the base class
        """Any shape to the same shape."""
        if not torch.is_grad_enabled():
            return prelu(input, self.weight)
        return apply(_PReLU, input, self.weight)


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(features, slope)
        return prelu(features, slope.to(features.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        features, slope = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(gradient, features, 0)
        of_features = torch.lerp(positive, gradient, slope.to(gradient.dtype))
        of_slope = features.clamp(max=0).mul_(gradient).sum().reshape(1).to(slope.dtype)
        return of_features, of_slope


class ResidualBlock(nn.Module):
    """k3 convolution, batch-norm, PReLU, k3 convolution, batch-norm, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, h, w) to the same shape."""
        residual: Tensor = self.body(features)
        return features + residual


class Doubling(nn.Sequential):
    """Sub-pixel convolution: twice the height and width (Shi et al., arXiv 1609.05158)."""

    def __init__(self, channels: int) -> None:
        convolution = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        initialise_as_nearest_neighbour(convolution, 2)
        super().__init__(convolution, nn.PixelShuffle(2), PReLU())

    def before_shuffling(self, features: Tensor) -> Tensor:
        """(N, channels, h, w) to (N, 4 x channels, h, w), whose pixel shuffle is the output."""
        activated: Tensor = self[2](self[0](features))
        return activated


class Tail(nn.Conv2d):
    """The last convolution, to RGB; computed before the pixel shuffle in front of it.

    A convolution of shuffled features is a smaller one of the features before, with four times as
    many outputs, shuffled afterwards: the same sums of the same products. Processors dislike the
    original, with its three outputs, so much that a training step takes a quarter less this way.
    """

    def forward(self, before_shuffling: Tensor) -> Tensor:
        """(N, 4 x channels, h, w) to (N, 3, 2 x h, 2 x w)."""
        weight = self.weight_before_shuffling()
        assert self.bias is not None  # noqa: S101 - as constructed
        bias = self.bias.repeat_interleave(4)
        return pixel_shuffle(conv2d(before_shuffling, weight, bias, padding="same"), 2)

    def weight_before_shuffling(self) -> Tensor:
        """The weight (3, channels, 9, 9) as that of the smaller one, (12, 4 x channels, 5, 5).

        Each output pixel of a 2x2 square sees the inputs from a place of its own: its kernel is
        shifted so far in a window of whole squares, and the window taken apart into squares.
        """
        shifted = [pad(self.weight, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
        outputs, channels, window = self.out_channels, self.in_channels, shifted[0].shape[-1] // 2
        squares = torch.stack(shifted, 1).view(outputs, 4, channels, window, 2, window, 2)
        ordered = squares.permute(0, 1, 2, 4, 6, 3, 5)
        return ordered.reshape(4 * outputs, 4 * channels, window, window)


class Generator(nn.Module):
    """The generator of SRGAN (figure 4 of the paper); 1,547,350 parameters at 16 x 64, scale 4.

    Input: LR images, (N, 3, h, w), in [0, 1]. Output: (N, 3, scale x h, scale x w), linear, meant
    for [-1, 1] and not clamped (``to_pixels`` does that). Convolutions before a batch-norm have no
    bias, which the batch-norm would cancel; each PReLU layer has one slope.
    """

    def __init__(self, architecture: GeneratorArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        channels = architecture.channels
        self.head = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), PReLU())
        self.body = nn.Sequential(
            *(ResidualBlock(channels) for _ in range(architecture.blocks)),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        doublings = architecture.scale.bit_length() - 1
        self.upsampling = nn.Sequential(*(Doubling(channels) for _ in range(doublings)))
        self.tail = Tail(channels, 3, 9)

    def forward(self, lr: Tensor) -> Tensor:
        """LR in [0, 1] to SR around [-1, 1]; see the class."""
        features = self.head(lr)
        features = features + self.body(features)
        *doublings, last = self.upsampling
        for doubling in doublings:
            features = doubling(features)
        assert isinstance(last, Doubling)  # noqa: S101 - as constructed
        sr: Tensor = self.tail(last.before_shuffling(features))
        return sr


def initialise_as_nearest_neighbour(convolution: nn.Conv2d, factor: int) -> None:
    """ICNR: start a sub-pixel convolution as a nearest-neighbour enlargement, no checkerboards.

    The weights that make the pixels of one ``factor`` x ``factor`` square are made equal (Aitken et
    al., *Checkerboard artifact free sub-pixel convolution*, arXiv 1707.02937).
    """
    weight, bias = convolution.weight, convolution.bias
    with torch.no_grad():
        square = factor**2
        weight.copy_(weight[::square].repeat_interleave(square, dim=0))
        if bias is not None:
            bias.copy_(bias[::square].repeat_interleave(square))


def from_pixels(pixels: Tensor) -> Tensor:
    """uint8 LR (N, 3, h, w) to the generator's input: float32 in [0, 1]."""
    return pixels.float().div_(255.0)


def targets_from_pixels(pixels: Tensor) -> Tensor:
    """uint8 HR (N, 3, H, W) to the generator's range: float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1.0)


def to_pixels(sr: Tensor) -> Tensor:
    """The generator's output to uint8 images of the same shape, rounded and clamped."""
    return sr.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
