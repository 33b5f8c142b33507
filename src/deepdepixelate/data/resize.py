"""Bicubic resizing as in MATLAB's ``imresize(image, factor, 'bicubic')``.

The LR images of the super-resolution benchmarks (Set5, Set14, BSD100, DIV2K) were made with that
function, and scores are comparable only if LR is the same; ``downscale`` equals it bit for bit. It
is defined by the cubic convolution kernel with a = -0.5 (Keys, 1981), widened by the factor when
shrinking (antialiasing), mirrored borders with the edge pixel repeated, height before width, and
rounding to uint8 (halves up) after each of the two passes.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

HEIGHT, WIDTH = 1, 2  # axes of NHWC

KERNEL = "bicubic a=-0.5, antialiased, mirrored border, height then width, uint8 after each pass"
"""The degradation in words, for manifests and reports."""

_EXACT_IN_UINT8 = (2, 4, 8)
"""Scales whose kernel weights are multiples of a power of two. For them torch's uint8 operator,
which stores weights as 16-bit integers, is exact, and several times faster than floating point."""

_STEP_PIXELS = 300_000
"""Pixels resized at a time, so that intermediates stay in the processor's cache."""


def downscale(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Shrink a batch of images by an integer factor.

    Args:
        images: uint8, shape (N, H, W, C), H and W multiples of ``scale``.
        scale: how many times smaller, 2 or more.

    Returns:
        uint8, shape (N, H / scale, W / scale, C).

    Raises:
        ValueError: the shape, the type or the scale is not one of these.
    """
    _check(images, scale)
    count, height, width, channels = images.shape
    if height % scale or width % scale:
        raise ValueError(
            f"an image of {width}x{height} pixels cannot be shrunk {scale} times: "
            f"crop its sides to multiples of {scale} first"
        )
    shrunk = np.empty((count, height // scale, width // scale, channels), dtype=np.uint8)
    for part in _parts(count, height * width):
        values = torch.from_numpy(np.require(images[part], requirements=["C", "W"]))
        if scale not in _EXACT_IN_UINT8:
            values = values.to(torch.float64)
        for axis in (HEIGHT, WIDTH):
            values = _round(_shrink_axis(values, axis, scale))
        shrunk[part] = values.to(torch.uint8).numpy()
    return shrunk


def upscale(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Enlarge a batch of images by an integer factor: the baseline of every comparison.

    Nothing is rounded between the passes, as in the floating-point ports that papers score with;
    MATLAB on uint8 rounds there, which changes PSNR on Set5 by 0.0015 dB.

    Args:
        images: uint8, shape (N, H, W, C).
        scale: how many times larger, 2 or more.

    Returns:
        uint8, shape (N, H * scale, W * scale, C).

    Raises:
        ValueError: the shape, the type or the scale is not one of these.
    """
    _check(images, scale)
    count, height, width, channels = images.shape
    enlarged = np.empty((count, height * scale, width * scale, channels), dtype=np.uint8)
    for part in _parts(count, height * width * scale**2):
        values = torch.from_numpy(np.require(images[part], requirements=["C", "W"])).to(
            torch.float64
        )
        for axis in (WIDTH, HEIGHT):  # torch's operator is wrong on one column of one channel
            values = _enlarge_axis(values, axis, scale)
        enlarged[part] = _round(values).to(torch.uint8).numpy()
    return enlarged


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image to any size, by Pillow's bicubic kernel, antialiased.

    Args:
        image: uint8, shape (H, W, 3), RGB.
        size: width and height, as Pillow has them.

    Returns:
        uint8, shape (height, width, 3).
    """
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _check(images: NDArray[np.uint8], scale: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            "images must be uint8 of shape (N, H, W, C), "
            f"not {images.dtype} of shape {tuple(images.shape)}"
        )
    if scale < 2:
        raise ValueError(f"the scale must be 2 or more, not {scale}")


def _parts(count: int, pixels: int) -> Iterator[slice]:
    step = max(1, _STEP_PIXELS // pixels)
    return (slice(start, start + step) for start in range(0, count, step))


# Torch truncates and renormalises the kernel at the border. Here the image is extended by as many
# mirrored pixels as the kernel reaches, and their part of the output is dropped.


def _shrink_axis(values: Tensor, axis: int, scale: int) -> Tensor:
    size = values.shape[axis] // scale
    values = values.index_select(axis, _mirrored_indices(values.shape[axis], 2 * scale))
    return _interpolate(values, axis, size + 4).narrow(axis, 2, size)


def _enlarge_axis(values: Tensor, axis: int, scale: int) -> Tensor:
    size = values.shape[axis]
    values = values.index_select(axis, _mirrored_indices(size, 2))
    return _interpolate(values, axis, (size + 4) * scale).narrow(axis, 2 * scale, size * scale)


def _interpolate(values: Tensor, axis: int, size: int) -> Tensor:
    """Resize one axis of NHWC values, as a channels-last view, which is torch's fast path."""
    sizes = [size if axis == other else values.shape[other] for other in (HEIGHT, WIDTH)]
    planes = values.permute(0, 3, 1, 2)
    resized = interpolate(planes, size=sizes, mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1)


def _round(values: Tensor) -> Tensor:
    if not values.is_floating_point():
        return values
    return (values + 0.5).floor_().clamp_(0, 255)


def _mirrored_indices(size: int, border: int) -> Tensor:
    """Indices of ``size`` pixels with ``border`` mirrored ones at both ends, the edge repeated."""
    indices = torch.arange(-border, size + border) % (2 * size)
    return torch.where(indices >= size, 2 * size - 1 - indices, indices)
