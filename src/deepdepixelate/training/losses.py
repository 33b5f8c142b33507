"""Losses on images (N, 3, H, W) in [-1, 1] that PyTorch does not have. Float32 scalars.

Each is a mean over crops, so that the mean over processes that share a batch is that of the batch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

_HARDLY_VISIBLE = 2.5 / 127.5
"""Deviation on a smooth area: 2.5 of 255 levels."""

_FEATURE_WEIGHTS = (0.1, 0.1, 1.0, 1.0, 1.0)
"""Of VGG16's five feature maps, as in ESRGAN: the first two tell little more than the pixels."""


def negative_psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Minus the mean over crops of their PSNR, in dB.

    It is what an evaluation averages. Mean squared error is ruled by the few crops with much
    texture; here, each has the same weight. A crop without any error counts as 66 dB.
    """
    squared_errors = (sr - hr).square().mean((1, 2, 3))
    return 10 * torch.log10((squared_errors + 1e-6) / 2**2).mean()


def feature_loss(
    sr: Sequence[Tensor],
    hr: Sequence[Tensor],
    mean: Callable[[Tensor], Tensor] = lambda means: means,
) -> Tensor:
    """Relative mean absolute difference of feature maps: the content loss ``st_lpips``.

    The mean over the maps l of ``w_l * mean(|sr_l - hr_l|) / mean(hr_l)``, with the weights w .1,
    .1, 1, 1 and 1. A map counts by its weight, whatever the size of its features. The features are
    not divided by their norm over channels, as in the metric: it leaves fewer specks.

    Args:
        sr: five feature maps of SR, after their ReLU, (N, C, h, w) each.
        hr: those of HR.
        mean: of the five ``mean(hr_l)``, over all that share a batch: a quotient of means over a
            share of the crops would not average to that over all of them.
    """
    sizes = mean(torch.stack([wanted.float().mean() for wanted in hr]))
    terms = [
        weight * l1_loss(made.float(), wanted.float()) / size
        for weight, made, wanted, size in zip(_FEATURE_WEIGHTS, sr, hr, sizes, strict=True)
    ]
    return torch.stack(terms).mean()


def grid_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """How visible a grid, or a shift of colour, is that repeats with each LR pixel.

    With e the error in YCbCr and v HR's variance within the LR pixel, both as levels of 255::

        mean over windows and places of (mean over the window's LR pixels of e / sqrt(v + 2.5^2))^2

    A window is 2x2 LR pixels; a place is one of the ``scale`` x ``scale`` sub-pixels. Texture
    partly averages out in a window, a grid does not; and hair hides a grid that skin shows, hence
    the division. Without this loss every content loss on VGG features leaves a grid of four pixels
    in its first hundreds of updates, for a fixed pattern of sub-pixels pleases it most cheaply.

    Args:
        sr: (N, 3, H, W), sides multiples of ``scale``.
        hr: their originals.
        scale: sub-pixels to a side of an LR pixel.
    """
    height, width = hr.shape[2:]
    rows, columns = min(2, height // scale), min(2, width // scale)
    steps = rows * scale, columns * scale

    def in_windows(images: Tensor) -> Tensor:
        """(N, 3, windows, rows, sub-pixels, windows, columns, sub-pixels), of whole windows."""
        whole = images[..., : height - height % steps[0], : width - width % steps[1]]
        windows: Tensor = whole.unflatten(3, (-1, columns, scale)).unflatten(2, (-1, rows, scale))
        return windows

    originals = in_windows(_ycbcr(hr))
    detail = originals.var((4, 7), correction=0, keepdim=True)
    error = in_windows(_ycbcr(sr)) - originals
    means: Tensor = (error * (detail + _HARDLY_VISIBLE**2).rsqrt()).mean((3, 6))
    return means.square().mean()


def _ycbcr(images: Tensor) -> Tensor:
    """Luma and the differences of blue and red from it, of ITU-R BT.601; all of the same range."""
    red, green, blue = images.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402], dim=1)
