"""Shift-tolerant LPIPS (ST-LPIPS), whose weights are in a package on the package index.

Ghildyal and Liu, *Shift-tolerant Perceptual Similarity Metric*, ECCV 2022, arXiv 2207.13686: VGG16
and AlexNet with anti-aliased pooling. Small shifts change their features little, and their
gradients have less of a grid than those of an ordinary VGG.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from deepdepixelate.errors import UserError, first_line
from deepdepixelate.files import find_file, reinstall
from deepdepixelate.limits import ST_LPIPS_SIDE

Trunk = Literal["alex", "vgg"]

PACKAGE = "stlpips-pytorch"
"""The distribution with the weights (BSD-2); its code is not imported."""

SMALLEST_SIDE: dict[Trunk, int] = {"alex": 21, "vgg": ST_LPIPS_SIDE}
"""Least width and height of images, in pixels; below, a blur has too few pixels to reflect."""

_WEIGHTS = "stlpips_pytorch/weights/vST0.0/{}_shift_tolerant.pth"
_CHANNELS: dict[Trunk, tuple[int, ...]] = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
}
"""Channels of the five feature maps."""


class ShiftTolerantTrunk(nn.Module):
    """Feature maps of a frozen VGG16 or AlexNet.

    Input: (N, 3, H, W) in [-1, 1], sides of ``SMALLEST_SIDE`` or more. Output: five feature maps,
    each after its ReLU: relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of VGG16 (``vgg``), or all
    five of AlexNet (``alex``).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        channels = _CHANNELS[trunk]
        self.slices = nn.ModuleList(_vgg16(channels) if trunk == "vgg" else _alexnet(channels))
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
    """The distance of the paper: 0 for equal images, larger for less similar ones.

    Raises:
        UserError: the package with the weights is not installed, or its file is damaged.
    """

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        path = _path(trunk)
        weights = _read(path)
        self.trunk = _filled_trunk(trunk, weights, path)
        for index, channels in enumerate(_CHANNELS[trunk]):
            weight = weights.get(name := f"lin{index}.model.1.weight")
            if weight is None or weight.shape != (1, channels, 1, 1):
                raise _damaged(path, f"{name} is missing or of another shape")
            self.register_buffer(f"lin{index}", weight)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two batches (N, 3, H, W) in [-1, 1] to distances (N,)."""
        return self.distance(self.trunk(first), self.trunk(second))

    def distance(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        """Distances (N,) between images, from their feature maps."""
        total = torch.zeros(len(first[0]), device=first[0].device)
        for index, (one, other) in enumerate(zip(first, second, strict=True)):
            squared = (_normalised(one) - _normalised(other)).square()
            total = total + conv2d(squared, self.get_buffer(f"lin{index}")).mean((1, 2, 3))
        return total


def load_trunk(trunk: Trunk) -> ShiftTolerantTrunk:
    """One of the two networks with its weights, on the CPU.

    Raises:
        UserError: the package with the weights is not installed, or its file is damaged.
    """
    path = _path(trunk)
    return _filled_trunk(trunk, _read(path), path)


def _filled_trunk(trunk: Trunk, weights: Mapping[str, Tensor], path: Path) -> ShiftTolerantTrunk:
    with torch.device("meta"):  # no random numbers for weights that are replaced
        network = ShiftTolerantTrunk(trunk)
    stored = [name for name in weights if name.startswith("net.")]
    own = [name for name in network.state_dict() if name.startswith("slices.")]
    try:
        named = {ours: weights[theirs] for ours, theirs in zip(own, stored, strict=True)}
        named["shift"] = weights["scaling_layer.shift"]
        named["scale"] = weights["scaling_layer.scale"]
        network.load_state_dict(named, assign=True)
    except (KeyError, RuntimeError, ValueError) as error:
        raise _damaged(path, "it holds another network") from error
    return network.requires_grad_(False)


def _path(trunk: Trunk) -> Path:
    return find_file(
        PACKAGE,
        _WEIGHTS.format(trunk),
        install=f"ST-LPIPS takes its weights from it. Install it: pip install {PACKAGE} (64 MB).",
    )


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        raise _damaged(path, first_line(error)) from error
    if not isinstance(weights, Mapping) or not all(map(torch.is_tensor, weights.values())):
        raise _damaged(path, "it holds no state dict")
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise _damaged(path, "it holds values that are not finite")
    return weights


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"the weights of ST-LPIPS in {path} are damaged ({reason}). Reinstall them: "
        f"{reinstall(PACKAGE)}"
    )


class _Blur(nn.Module):
    """Depthwise binomial filter of stride 2 with a reflected border."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.zeros(channels, 1, 3, 3))

    def forward(self, features: Tensor) -> Tensor:
        around = pad(features, (2, 2, 2, 2), mode="reflect")
        return conv2d(around, self.filt, stride=2, groups=features.shape[1])


def _vgg16(widths: Sequence[int]) -> list[nn.Sequential]:
    slices: list[nn.Sequential] = []
    channels = 3
    for width, convolutions in zip(widths, (2, 2, 3, 3, 3), strict=True):
        layers: list[nn.Module] = [nn.MaxPool2d(2, 1), _Blur(channels)] if slices else []
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        slices.append(nn.Sequential(*layers))
    return slices


def _alexnet(widths: Sequence[int]) -> list[nn.Sequential]:
    def pooled(channels: int) -> tuple[nn.Module, nn.Module]:
        return nn.MaxPool2d(3, 1), _Blur(channels)

    first, second, third, fourth, fifth = widths
    return [
        nn.Sequential(nn.Conv2d(3, first, 11, padding=2), _Blur(first), nn.ReLU()),
        nn.Sequential(*pooled(first), nn.Conv2d(first, second, 5, padding=2), nn.ReLU()),
        nn.Sequential(*pooled(second), nn.Conv2d(second, third, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(third, fourth, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(fourth, fifth, 3, padding=1), nn.ReLU()),
    ]


def _normalised(features: Tensor) -> Tensor:
    # The gradient of a square root of a sum would be NaN where all features are zero.
    norm: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (norm + 1e-10)
