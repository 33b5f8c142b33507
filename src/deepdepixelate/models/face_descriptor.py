"""dlib's face recognition network in PyTorch, so that a loss can have its gradient.

King, "High quality face recognition with deep metric learning", 2017: a ResNet of 29 layers (after
He et al., arXiv 1512.03385), whose weights (CC0) are in the package ``face_recognition_models``.
"""

import re
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad, relu

from deepdepixelate.errors import UserError
from deepdepixelate.files import FACE_RECOGNITION, find_file, reinstall

_SIDE = 150  # of the images of faces, in pixels
_INSTALL = 'The identity loss needs it: pip install "deepdepixelate[identity]" (110 MB).'
_FILE = "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"
_MEAN = (122.782, 117.001, 104.298)  # of red, green and blue, in levels of 255
_BLOCKS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Channels, residual blocks, and whether the first of them halves the sides."""


class FaceDescriptor(nn.Module):
    """Descriptors of faces at one place in all images.

    Input: (N, 3, H, W) in [-1, 1]; output: (N, 128). dlib computes the same from an image of
    150x150 pixels that ``get_face_chip(image, landmarks)`` gives.

    Args:
        box: left, top and side of the square that holds the face, in pixels.
    """

    mean: Tensor

    def __init__(self, box: tuple[int, int, int]) -> None:
        super().__init__()
        self._box = box
        self.first = _ConvolutionAndAffine(3, 32, side=7, stride=2)
        blocks, channels = [], 32
        for width, count, halving in _BLOCKS:
            for index in range(count):
                blocks.append(_Residual(channels, width, halving=halving and index == 0))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(channels, 128, bias=False)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] to descriptors; see the class."""
        left, top, side = self._box
        faces = images[:, :, top : top + side, left : left + side]
        if side != _SIDE:
            faces = interpolate(faces, size=(_SIDE, _SIDE), mode="bilinear")
        features = ((faces + 1) * 127.5 - self.mean) / 256
        features = max_pool2d(relu(self.first(features)), 3, 2)
        descriptors: Tensor = self.last(self.blocks(features).mean((2, 3)))
        return descriptors


class _ConvolutionAndAffine(nn.Module):
    """A convolution, and a factor and an offset for each channel (a frozen batch norm)."""

    def __init__(self, channels: int, width: int, *, side: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, side, stride, int(stride == 1))
        self.affine = nn.Conv2d(width, width, 1, groups=width)

    def forward(self, features: Tensor) -> Tensor:
        scaled: Tensor = self.affine(self.convolution(features))
        return scaled


class _Residual(nn.Module):
    def __init__(self, channels: int, width: int, *, halving: bool) -> None:
        super().__init__()
        self.one = _ConvolutionAndAffine(channels, width, stride=2 if halving else 1)
        self.two = _ConvolutionAndAffine(width, width)
        self._halving = halving

    def forward(self, features: Tensor) -> Tensor:
        added = self.two(relu(self.one(features)))
        if self._halving:
            features = avg_pool2d(features, 2)
        return relu(_sum(added, features))


def _sum(first: Tensor, second: Tensor) -> Tensor:
    """The sum of two feature maps; the smaller one is padded with zeros, in each dimension."""
    shape = [max(sizes) for sizes in zip(first.shape, second.shape, strict=True)]

    def padded(features: Tensor) -> Tensor:
        missing = [size - own for size, own in zip(shape, features.shape, strict=True)]
        return pad(features, (0, missing[3], 0, missing[2], 0, missing[1]))

    return padded(first) + padded(second)


def load_face_descriptor(box: tuple[int, int, int]) -> FaceDescriptor:
    """The network with its weights, on the CPU.

    Args:
        box: see ``FaceDescriptor``.

    Raises:
        UserError: the package with the weights is not installed, or its file is damaged.
    """
    path = find_file(FACE_RECOGNITION, _FILE, install=_INSTALL)
    network = FaceDescriptor(box)
    try:
        _fill(network, _stored(path.read_bytes()))
    except (ValueError, RuntimeError, StopIteration) as error:
        raise UserError(
            f"the weights of the face recognition in {path} are damaged. Reinstall them: "
            f"{reinstall(FACE_RECOGNITION)}"
        ) from error
    return network


def _fill(network: FaceDescriptor, stored: Iterator[Tensor]) -> None:
    for name, module in network.named_modules():  # as in the file, from input to output
        if isinstance(module, nn.Conv2d):
            values = next(stored)
            size = module.weight.numel()
            module.weight.copy_(values[:size].view_as(module.weight))
            network.get_parameter(f"{name}.bias").copy_(values[size:])
    network.last.weight.copy_(next(stored).view(256, 128).T)
    if next(stored, None) is not None:
        raise ValueError("it holds another network")


def _stored(content: bytes) -> Iterator[Tensor]:
    """The weights of each layer in a file of dlib's serialisation, in order.

    A layer is its name and a few integers, of which the last five are 2 and the sizes of a tensor;
    its float32 values follow. An integer is a byte with a length, and as many little-endian bytes.
    """
    for layer in re.finditer(rb"\x05con_4|\x07affine_|\x04fc_2", content):
        place = content.index(b"\x01\x02", layer.end(), layer.end() + 16) + 2
        count = 1
        for _ in range(4):
            digits = content[place + 1 : place + 1 + content[place]]
            place += 1 + len(digits)
            count *= int.from_bytes(digits, "little")
        values: NDArray[np.float32] = np.frombuffer(content, "<f4", count, place)
        yield torch.from_numpy(values.copy())
