"""A trained generator rebuilt for enlarging alone: the same function, in less time."""

from collections.abc import Iterable
from copy import deepcopy
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle
from torch.nn.utils import convert_conv2d_weight_memory_format, fuse_conv_bn_eval

from deepdepixelate.models.generator import Generator, GeneratorArchitecture, Tail


class FoldedGenerator(nn.Module):
    """A generator whose batch-norms are folded into the convolutions before them.

    Activations overwrite their input, which most of the memory goes to. Weights are laid out
    channels last. In bf16 the convolutions behind the first one run in bfloat16; the sums of the
    residual blocks stay in float32, which keeps pixels within a level of those that all of it in
    float32 gives.

    Input: LR images, (N, 3, h, w), in [0, 1]. Output: float32 (N, 3, scale x h, scale x w), around
    [-1, 1]; as from ``Generator`` in evaluation mode.
    """

    def __init__(self, generator: Generator, *, bf16: bool = False) -> None:
        """Copy and fold a generator's weights; the generator itself is left as it is."""
        super().__init__()
        self.architecture = generator.architecture
        self._bf16 = bf16
        source: Any = deepcopy(generator).eval()
        *blocks, convolution, norm = source.body
        self.head = _activated(source.head)
        self.blocks = nn.ModuleList(_folded(block.body) for block in blocks)
        self.end_of_body = fuse_conv_bn_eval(convolution, norm)
        *doublings, last = source.upsampling
        self.doublings = nn.ModuleList(map(_activated, doublings))
        self.last_convolution, _, self.last_activation = _activated(last)
        self.tail = _before_shuffling(source.tail)
        self.requires_grad_(False)
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, lr: Tensor) -> Tensor:
        """LR in [0, 1] to SR around [-1, 1]; see the class."""
        first = self.head(lr.contiguous(memory_format=torch.channels_last))
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self._bf16):
            features = first
            for block in self.blocks:
                features = features + block(features)
            features = first + self.end_of_body(features)
            for doubling in self.doublings:
                features = doubling(features)
            features = self.last_activation(self.last_convolution(features))
            squares = self.tail(features)
        return pixel_shuffle(squares.float(), 2)


def reach(architecture: GeneratorArchitecture) -> int:
    """How far, in LR pixels, a pixel of the input changes the output.

    The 9x9 convolution at the start reaches 4 pixels and each 3x3 one 1; those behind a doubling
    reach half as far as before it, and the last, of 9x9, 4 pixels of the output.
    """
    doublings = architecture.scale.bit_length() - 1
    upsampling = sum(1 / (1 << doubling) for doubling in range(doublings))
    return ceil(4 + 2 * architecture.blocks + 1 + upsampling + 4 / architecture.scale)


def _folded(layers: Any) -> nn.Sequential:
    first, first_norm, activation, second, second_norm = layers
    convolutions = fuse_conv_bn_eval(first, first_norm), fuse_conv_bn_eval(second, second_norm)
    return _activated([convolutions[0], activation, convolutions[1]])


def _activated(layers: Iterable[nn.Module]) -> nn.Sequential:
    """Layers whose PReLUs, of one slope each, work in place."""
    return nn.Sequential(*map(_in_place, layers))


def _in_place(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.PReLU):
        return nn.LeakyReLU(layer.weight.item(), inplace=True)
    return layer


def _before_shuffling(tail: Tail) -> nn.Conv2d:
    """The smaller convolution that ``Tail`` computes, its weight worked out once."""
    weight = tail.weight_before_shuffling()
    outputs, inputs, window, _ = weight.shape
    convolution = nn.Conv2d(inputs, outputs, window, padding=window // 2)
    assert tail.bias is not None  # noqa: S101 - as constructed
    convolution.weight = nn.Parameter(weight.detach())
    convolution.bias = nn.Parameter(tail.bias.detach().repeat_interleave(4))
    return convolution
