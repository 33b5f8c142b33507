"""The generator: SRResNet when trained on MSE alone, SRGAN when trained against a discriminator.

Three parts compute the paper's layers in another way, for speed; the tests compare their results.

- ``PReLU``: its backward pass on a CPU takes a third to a half of the time of PyTorch's own.
- ``Tail``: a training step on a CPU takes a quarter less time.
- ``enlarge.FoldedGenerator``, with both and with bf16: a face of 44x54 pixels takes 32.9 ms on two
  CPU cores, against 98.3 ms layer by layer in float32 (``tests/benchmarks/enlarge.py``).
"""

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, pixel_shuffle, prelu
from torch.nn.utils import fuse_conv_bn_eval

from deepdepixelate.limits import Scale

SCALES: tuple[int, ...] = get_args(Scale)


class GeneratorArchitecture(BaseModel):
    """The parameters that determine the shapes of a generator's weights.

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

    @property
    def receptive_field_radius(self) -> int:
        """How far from an output pixel, in LR pixels, an input pixel can influence it.

        The first convolution (9x9) reaches 4 pixels, each 3x3 one 1, halved by every doubling in
        front of it, and the last (9x9) 4 pixels of the output.
        """
        doublings = self.scale.bit_length() - 1
        upsampling = sum(1 / (1 << doubling) for doubling in range(doublings))
        return ceil(4 + 2 * self.blocks + 1 + upsampling + 4 / self.scale)


class PReLU(nn.PReLU):
    """``torch.nn.PReLU`` with one slope, and a faster backward pass; see the module."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in the base class
        """Any shape to the same shape."""
        if not torch.is_grad_enabled():
            return prelu(input, self.weight)
        return _fast_prelu(input, self.weight)


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


_fast_prelu: Callable[[Tensor, Tensor], Tensor] = _PReLU.apply


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
    """The last convolution, to RGB, merged with the pixel shuffle before it.

    A 9x9 convolution of shuffled features equals a 5x5 convolution of the features before the
    shuffle, with four times as many outputs, followed by the shuffle. Convolutions with only three
    outputs are slow; see the module for what this saves.
    """

    def forward(self, before_shuffling: Tensor) -> Tensor:
        """(N, 4 x channels, h, w) to (N, 3, 2 x h, 2 x w)."""
        weight = self.weight_before_shuffling()
        assert self.bias is not None  # noqa: S101 - as constructed
        bias = self.bias.repeat_interleave(4)
        return pixel_shuffle(conv2d(before_shuffling, weight, bias, padding="same"), 2)

    def weight_before_shuffling(self) -> Tensor:
        """The weight (3, channels, 9, 9) as that of the 5x5 one, (12, 4 x channels, 5, 5).

        The four output pixels of a 2x2 square see the input shifted by 0 or 1 pixel. The kernel is
        shifted accordingly within a 10x10 window, which is then split into 5x5 squares of 2x2.
        """
        shifted = [pad(self.weight, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
        outputs, channels, window = self.out_channels, self.in_channels, shifted[0].shape[-1] // 2
        squares = torch.stack(shifted, 1).view(outputs, 4, channels, window, 2, window, 2)
        ordered = squares.permute(0, 1, 2, 4, 6, 3, 5)
        return ordered.reshape(4 * outputs, 4 * channels, window, window)


class Generator(nn.Module):
    """The generator of SRGAN (figure 4 of the paper); 1,547,350 parameters at 16 x 64, scale 4.

    Input: LR images, (N, 3, h, w), in [0, 1]. Output: (N, 3, scale x h, scale x w), linear: about
    [-1, 1], not clamped (``to_pixels`` does that). Convolutions before a batch-norm have no bias,
    which the batch-norm would cancel. Each PReLU layer has one slope.
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
        return self.after_head(self.head(lr))

    def after_head(self, features: Tensor) -> Tensor:
        """The output of ``head``, (N, channels, h, w), to SR (N, 3, scale x h, scale x w)."""
        features = features + self.body(features)
        *doublings, last = self.upsampling
        for doubling in doublings:
            features = doubling(features)
        assert isinstance(last, Doubling)  # noqa: S101 - as constructed
        sr: Tensor = self.tail(last.before_shuffling(features))
        return sr


def initialise_as_nearest_neighbour(convolution: nn.Conv2d, factor: int) -> None:
    """ICNR: initialise a sub-pixel convolution as nearest-neighbour enlargement.

    This avoids checkerboards. All pixels of a ``factor`` x ``factor`` square get the same weights
    (Aitken et al., *Checkerboard artifact free sub-pixel convolution*, arXiv 1707.02937).
    """
    weight, bias = convolution.weight, convolution.bias
    with torch.no_grad():
        square = factor**2
        weight.copy_(weight[::square].repeat_interleave(square, dim=0))
        if bias is not None:
            bias.copy_(bias[::square].repeat_interleave(square))


class FrozenBatchNorm(nn.Module):
    """A batch-norm whose scale has been moved into the convolution before it: a trainable bias.

    Its state dict is that of a ``torch.nn.BatchNorm2d`` that adds the same in evaluation mode.
    """

    weight: Tensor

    def __init__(self, bias: Tensor, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.bias = nn.Parameter(bias.detach().clone())
        self.register_buffer("weight", torch.full_like(bias, 1.0 + eps).sqrt())
        self.register_buffer("running_mean", torch.zeros_like(bias))
        self.register_buffer("running_var", torch.ones_like(bias))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape, in place: the convolution before it keeps no copy."""
        return features.add_(self.bias.to(features.dtype).view(1, -1, 1, 1))


def freeze_batch_norms(generator: Generator) -> None:
    """Make a generator compute the same in training mode as in evaluation mode.

    Batch statistics differ between images, and between crops and whole images. They speed up early
    training. Later they are noise, and the discriminator judges images that the generator will
    never produce when it is used (EDSR, arXiv 1707.02921, and ESRGAN, arXiv 1809.00219, have no
    batch-norm at all). This moves the running statistics and the scales into the convolutions, in
    place. The output changes by rounding only, and the weights still fit a ``Generator``.
    """
    for layers, index, folded in folded_convolutions(generator):
        convolution: Any = layers[index - 1]
        norm: Any = layers[index]
        assert folded.bias is not None  # noqa: S101 - the batch-norm's
        with torch.no_grad():
            convolution.weight.copy_(folded.weight)
        layers[index] = FrozenBatchNorm(folded.bias, norm.eps)


def folded_convolutions(network: nn.Module) -> Iterator[tuple[nn.Sequential, int, nn.Conv2d]]:
    """Each batch-norm merged with the convolution before it, as in evaluation mode.

    Yields:
        The layers that hold both, the index of the batch-norm in them, and the merged convolution;
        the layers are not changed.
    """
    for layers in list(network.modules()):
        if isinstance(layers, nn.Sequential):
            for index, layer in enumerate(layers):
                if isinstance(layer, nn.BatchNorm2d):
                    convolution: Any = layers[index - 1]
                    yield layers, index, fuse_conv_bn_eval(convolution.eval(), layer.eval())


def from_pixels(pixels: Tensor) -> Tensor:
    """uint8 LR (N, 3, h, w) to the generator's input: float32 in [0, 1]."""
    return pixels.float().div_(255.0)


def targets_from_pixels(pixels: Tensor) -> Tensor:
    """uint8 HR (N, 3, H, W) to the generator's range: float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1.0)


def to_pixels(sr: Tensor) -> Tensor:
    """SR around [-1, 1] to uint8 images of the same shape, rounded and clamped."""
    return sr.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
