"""Shift-tolerant LPIPS: a perceptual distance whose weights come in an ordinary package.

Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022, arXiv 2207.13686. Two
classification networks, pooled with anti-aliasing, so that a small shift changes their features
little and their gradients carry less of a grid than those of an ordinary VGG.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from deepdepixelate.errors import UserError

Trunk = Literal["alex", "vgg"]

PACKAGE = "stlpips-pytorch"
"""The distribution that carries the weights (BSD-2); its own code is not imported."""

_WEIGHTS = "stlpips_pytorch/weights/vST0.0/{}_shift_tolerant.pth"

SMALLEST_SIDE = {"alex": 21, "vgg": 18}
"""Sides of the smallest images that the trunks take, in pixels."""


class ShiftTolerantTrunk(nn.Module):
    """Features of a fixed network; gradients pass through it, none stay in it.

    Input: (N, 3, H, W) in [-1, 1]. Output: five feature maps, each after its ReLU. For ``vgg``
    relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of a VGG16; for ``alex`` all five of AlexNet.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.slices = nn.ModuleList(_vgg16() if trunk == "vgg" else _alexnet())
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images in [-1, 1] to five feature maps; see the class."""
        features = (images - self.shift) / self.scale
        outputs = []
        for part in self.slices:
            features = part(features)
            outputs.append(features)
        return outputs


class ShiftTolerantLPIPS(nn.Module):
    """The distance of the paper: 0 for equal images, larger for images that look less alike."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = load_trunk(trunk)
        weights = _weights(trunk)
        for index in range(len(self.trunk.slices)):
            self.register_buffer(f"lin{index}", weights[f"lin{index}.model.1.weight"])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two batches (N, 3, H, W) in [-1, 1] to distances (N,)."""
        total = torch.zeros(len(first), device=first.device)
        pairs = zip(self.trunk(first), self.trunk(second), strict=True)
        for index, (one, other) in enumerate(pairs):
            squared = (_normalised(one) - _normalised(other)).square()
            total = total + conv2d(squared, self.get_buffer(f"lin{index}")).mean((1, 2, 3))
        return total


def load_trunk(trunk: Trunk) -> ShiftTolerantTrunk:
    """One of the two networks with its weights.

    Raises:
        UserError: the package with the weights is not installed, or its file is damaged.
    """
    weights = _weights(trunk)
    network = ShiftTolerantTrunk(trunk)
    expected = network.state_dict()
    named = {"shift": weights["scaling_layer.shift"], "scale": weights["scaling_layer.scale"]}
    stored = [name for name in weights if name.startswith("net.")]
    own = [name for name in expected if name.startswith("slices.")]
    named |= {ours: weights[theirs] for ours, theirs in zip(own, stored, strict=True)}
    network.load_state_dict(named)
    return network


@cache
def _weights(trunk: Trunk) -> Mapping[str, Tensor]:
    path = _path(trunk)
    weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _path(trunk: Trunk) -> Path:
    try:
        found = files(PACKAGE) or []
    except PackageNotFoundError:
        raise UserError(PACKAGE) from None
    wanted = _WEIGHTS.format(trunk)
    return next(Path(str(each.locate())) for each in found if str(each) == wanted)


class _Blur(nn.Module):
    """The binomial filter with a stride of 2, each channel by itself, reflected at the border."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.zeros(channels, 1, 3, 3))

    def forward(self, features: Tensor) -> Tensor:
        around = pad(features, (2, 2, 2, 2), mode="reflect")
        return conv2d(around, self.filt, stride=2, groups=features.shape[1])


def _vgg16() -> list[nn.Sequential]:
    slices = []
    channels = 3
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers: list[nn.Module] = [nn.MaxPool2d(2, 1), _Blur(channels)] if slices else []
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        slices.append(nn.Sequential(*layers))
    return slices


def _alexnet() -> list[nn.Sequential]:
    def pooled(channels: int) -> tuple[nn.Module, nn.Module]:
        return nn.MaxPool2d(3, 1), _Blur(channels)

    return [
        nn.Sequential(nn.Conv2d(3, 64, 11, padding=2), _Blur(64), nn.ReLU()),
        nn.Sequential(*pooled(64), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
        nn.Sequential(*pooled(192), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]


def _normalised(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
