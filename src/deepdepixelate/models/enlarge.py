"""The one way to apply a generator: folded, in tiles, on any device, from uint8 to uint8."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from deepdepixelate.errors import UserError
from deepdepixelate.models import TILE
from deepdepixelate.models.device import choose_compute
from deepdepixelate.models.generator import (
    Generator,
    Tail,
    folded_convolutions,
    from_pixels,
    to_pixels,
)
from deepdepixelate.models.pretrained import NAMES, find_generator
from deepdepixelate.models.weights import Weights, build_generator

Images = NDArray[np.uint8]


class Enlarger:
    """Super-resolves images with a trained generator.

    Attributes:
        scale: how many times larger the result is.
        compute: device and precision.
        for_photographs: whether the generator was trained on blurred, noisy and compressed images
            (``degrade.kind=realistic``), as the packaged ``photo``.
    """

    def __init__(
        self,
        model: Weights | str = NAMES[0],
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = TILE,
        self_ensemble: bool = False,
    ) -> None:
        """Build the generator and fold it.

        Args:
            model: srgan, srresnet or photo, from the package; the path of a .safetensors file; or
                the weights of a generator.
            device: auto, cpu, cuda, cuda:1, mps.
            precision: bf16, fp32, or auto: bf16 if the hardware supports it.
            tile: side of the tiles in LR pixels; memory grows with its square. None to enlarge
                images whole.
            self_ensemble: average the results of each image and its mirror image. This takes twice
                the time; the result is slightly closer to the original, and slightly softer.

        Raises:
            UserError: there is no such model, it is not a generator, or the device is missing.
        """
        weights = find_generator(model) if isinstance(model, str) else model
        generator = build_generator(weights)
        self.scale = generator.architecture.scale
        self.compute = choose_compute(device, precision)
        self.for_photographs = weights.provenance.get("degrade.kind") == "realistic"
        network = FoldedGenerator(generator, bf16=self.compute.bf16)
        self._network = network.to(self.compute.device)
        self._tile = tile
        self._overlap = generator.architecture.receptive_field_radius
        self._self_ensemble = self_ensemble

    def __call__(self, images: Images, on_tile: Callable[[], object] = lambda: None) -> Images:
        """Enlarge one image, or a batch of images of the same size.

        Args:
            images: RGB, (h, w, 3) or (N, h, w, 3).
            on_tile: called after each tile (of all images of a batch).

        Returns:
            RGB, (scale x h, scale x w, 3) or (N, scale x h, scale x w, 3).

        Raises:
            UserError: the output has NaN or infinite values.
        """
        if images.ndim == 3:
            enlarged: Images = self(images[None], on_tile)[0]
            return enlarged
        count, height, width, _ = images.shape
        scale, overlap = self.scale, self._overlap
        enlarged = np.empty((count, scale * height, scale * width, 3), np.uint8)
        for top, left, bottom, right in self.tiles(height, width):
            y, x = max(0, top - overlap), max(0, left - overlap)
            part = images[:, y : bottom + overlap, x : right + overlap]
            made = _apply(self._forward, part, self.compute.device)
            made = made[:, scale * (top - y) :, scale * (left - x) :]
            place = enlarged[:, scale * top : scale * bottom, scale * left : scale * right]
            place[:] = made[:, : place.shape[1], : place.shape[2]]
            on_tile()
        return enlarged

    def tiles(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """The tiles in which an image of this size is enlarged: top, left, bottom, right.

        Each is enlarged together with a margin as wide as the receptive field radius, so that the
        joined tiles equal the image enlarged whole.
        """
        size = self._tile or max(height, width)
        return [
            (top, left, min(top + size, height), min(left + size, width))
            for top in range(0, height, size)
            for left in range(0, width, size)
        ]

    def _forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self._network(lr)
        if self._self_ensemble:
            mirrored = self._network(lr.flip(-1)).flip(-1)
            sr = sr.add(mirrored).mul(0.5)
        return sr


def enlarge(generator: nn.Module, images: Images, device: torch.device) -> Images:
    """Super-resolve a batch with a generator that is still being trained.

    Args:
        generator: a Generator on ``device``. It runs in evaluation mode; its own mode is restored
            afterwards.
        images: RGB, (N, h, w, 3).
        device: where to compute.

    Returns:
        RGB, (N, scale x h, scale x w, 3).

    Raises:
        UserError: the output has NaN or infinite values.
    """
    was_training = generator.training
    generator.eval()
    try:
        return _apply(generator, images, device)
    finally:
        generator.train(was_training)


def _apply(network: Callable[[Tensor], Tensor], images: Images, device: torch.device) -> Images:
    with torch.inference_mode():
        lr = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2)
        sr = network(from_pixels(lr))
        if not bool(sr.isfinite().all()):  # as uint8, NaN would become black
            raise UserError(
                "the generator gives NaN or infinite values: its weights are damaged, or too "
                "large for this precision. Use other weights, or precision fp32."
            )
        enlarged: Images = to_pixels(sr).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return enlarged


class FoldedGenerator(nn.Module):
    """A generator for inference: the same function in less time; see ``models.generator``.

    Batch-norms are folded into the convolutions before them, activations work in place, which
    saves most of the memory, and weights are laid out channels last. In bf16 the convolutions
    after the first run in bfloat16. The sums of the residual blocks stay in float32, which keeps
    pixels within one level of the float32 result.

    Input: LR images, (N, 3, h, w), in [0, 1]. Output: float32 (N, 3, scale x h, scale x w), around
    [-1, 1]; as from ``Generator`` in evaluation mode.
    """

    def __init__(self, generator: Generator, *, bf16: bool = False) -> None:
        """Copy a generator's weights and fold them; the generator itself is not changed."""
        super().__init__()
        self._bf16 = bf16
        folded: Any = deepcopy(generator).eval()
        for layers, index, convolution in folded_convolutions(folded):
            layers[index - 1], layers[index] = convolution, nn.Identity()
        for module in list(folded.modules()):
            for name, layer in module.named_children():
                if isinstance(layer, nn.PReLU):
                    setattr(module, name, nn.LeakyReLU(layer.weight.item(), inplace=True))
        folded.tail = nn.Sequential(_before_shuffling(folded.tail), nn.PixelShuffle(2))
        self.generator = folded.requires_grad_(False)
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, lr: Tensor) -> Tensor:
        """LR in [0, 1] to SR around [-1, 1]; see the class."""
        features = self.generator.head(lr.contiguous(memory_format=torch.channels_last))
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self._bf16):
            sr: Tensor = self.generator.after_head(features)
        return sr.float()


def _before_shuffling(tail: Tail) -> nn.Conv2d:
    """The smaller convolution that ``Tail`` computes, with its weight computed once."""
    weight = tail.weight_before_shuffling()
    outputs, inputs, window, _ = weight.shape
    convolution = nn.Conv2d(inputs, outputs, window, padding=window // 2)
    assert tail.bias is not None  # noqa: S101 - as constructed
    convolution.weight = nn.Parameter(weight.detach())
    convolution.bias = nn.Parameter(tail.bias.detach().repeat_interleave(4))
    return convolution
