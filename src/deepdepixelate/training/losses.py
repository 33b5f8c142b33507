"""Losses that PyTorch does not have, of images (N, 3, H, W) in [-1, 1]; float32 scalars.

Each is a mean over crops. So its mean over processes that share a batch is that of the batch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss, pad

_HARDLY_VISIBLE = 2.5 / 127.5
"""Standard deviation of noise that is hardly visible on a smooth area: 2.5 of 255 levels."""

_FEATURE_WEIGHTS = (0.1, 0.1, 1.0, 1.0, 1.0)
"""Of VGG16's five feature maps, as in Real-ESRGAN; the first two are close to the pixels."""


def negative_psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Minus the mean PSNR of the crops, in dB.

    It is the mean over crops of ``10 * log10((MSE + 1e-6) / 2^2)``; an exact crop counts as 66 dB.
    An evaluation averages PSNR, too. The mean squared error of a batch depends mostly on the few
    crops with much texture; here all crops have the same weight.
    """
    squared_errors = (sr - hr).square().mean((1, 2, 3))
    return 10 * torch.log10((squared_errors + 1e-6) / 2**2).mean()


def feature_loss(
    sr: Sequence[Tensor],
    hr: Sequence[Tensor],
    mean: Callable[[Tensor], Tensor] = lambda means: means,
) -> Tensor:
    """Relative mean absolute difference of feature maps: the content loss ``st_lpips``.

    With weights w = (0.1, 0.1, 1, 1, 1)::

        mean over maps l of w_l * mean |sr_l - hr_l| / mean hr_l

    The division makes a map's influence independent of the size of its features. Unlike in the
    metric, features are not divided by their norm over channels: this leaves fewer specks.

    Args:
        sr: five feature maps of SR, after their ReLU, (N, C, h, w) each.
        hr: those of HR.
        mean: averages the five ``mean hr_l`` over the processes that share a batch, because a
            quotient of means over shares of the batch does not average to that over the batch.
    """
    sizes = mean(torch.stack([wanted.float().mean() for wanted in hr]))
    terms = [
        weight * l1_loss(made.float(), wanted.float()) / size
        for weight, made, wanted, size in zip(_FEATURE_WEIGHTS, sr, hr, sizes, strict=True)
    ]
    return torch.stack(terms).mean()


def artifact_loss(sr: Tensor, average: Tensor, hr: Tensor) -> Tensor:
    """Error of the pixels where there are specks: LDL (Liang, Zeng and Zhang, arXiv 2203.09195).

    With r the absolute error of SR, summed over channels, r' that of the averaged generator, and
    all values scaled to [0, 1]::

        mean of m * |sr - hr|,  m = (variance of r)^(1/5) * variance of r within 7x7, where r >= r'
                                m = 0, elsewhere

    Next to a speck's large error there are small ones: the variance is high. Where r < r', the
    training is about to improve the detail, so nothing is punished. No gradient passes through m.

    Args:
        sr: (N, 3, H, W), at least 4x4.
        average: of the same LR images, by the exponential moving average of the generator.
        hr: the originals.
    """
    with torch.no_grad():
        error, averaged_error = (
            (made - hr).abs().sum(1, keepdim=True) / 2 for made in (sr, average)
        )
        overall = error.var((1, 2, 3), keepdim=True).pow(0.2)
        means = [
            avg_pool2d(pad(each, (3, 3, 3, 3), mode="reflect"), 7, 1)
            for each in (error, error.square())
        ]
        local = (means[1] - means[0].square()).clamp(min=0)
        weights = torch.where(error >= averaged_error, overall * local, 0)
    return (weights * (sr - hr).abs()).mean() / 2


def grid_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """Visibility of a grid, or of a colour shift, that repeats with each LR pixel.

    With e the error in YCbCr and v HR's variance within the LR pixel, both in levels of 255::

        mean over windows and sub-pixels of (mean over LR pixels of e / sqrt(v + 2.5^2))^2

    A window is 2x2 LR pixels; each has ``scale`` x ``scale`` sub-pixels. In the inner mean texture
    partly cancels out, a grid does not. The division accounts for masking: hair hides a grid that
    skin shows. Without this loss, every content loss on VGG features leaves a four-pixel grid in
    the first hundreds of updates, because a fixed pattern of sub-pixels is its easiest gain.

    Args:
        sr: (N, 3, H, W), sides multiples of ``scale``.
        hr: the originals, same shape.
        scale: sub-pixels on each side of an LR pixel.
    """
    height, width = hr.shape[2:]
    rows, columns = min(2, height // scale), min(2, width // scale)
    steps = rows * scale, columns * scale

    def in_windows(images: Tensor) -> Tensor:
        """(N, 3, windows, rows, sub-pixels, windows, columns, sub-pixels); cuts off the rest."""
        whole = images[..., : height - height % steps[0], : width - width % steps[1]]
        windows: Tensor = whole.unflatten(3, (-1, columns, scale)).unflatten(2, (-1, rows, scale))
        return windows

    originals = in_windows(_ycbcr(hr))
    detail = originals.var((4, 7), correction=0, keepdim=True)
    error = in_windows(_ycbcr(sr)) - originals
    means: Tensor = (error * (detail + _HARDLY_VISIBLE**2).rsqrt()).mean((3, 6))
    return means.square().mean()


def _ycbcr(images: Tensor) -> Tensor:
    """YCbCr of ITU-R BT.601, full range; all channels have the same range."""
    red, green, blue = images.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402], dim=1)
