"""Losses on images (N, 3, H, W) in [-1, 1] that PyTorch does not have. Float32 scalars."""

from functools import lru_cache

import torch
from torch import Tensor

_ROUNDING = 1e-7
"""Power in each ring that the rounding to 8 bits leaves anyway: (2 / 255)^2 / 12 over some 50."""


def negative_psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Minus the mean over crops of their PSNR, in dB.

    It is what an evaluation averages. Mean squared error is ruled by the few crops with much
    texture; here, each has the same weight. A crop without any error counts as 66 dB.
    """
    squared_errors = (sr - hr).square().mean((1, 2, 3))
    return 10 * torch.log10((squared_errors + 1e-6) / 2**2).mean()


def grid_loss(error: Tensor, scale: int) -> Tensor:
    """How far the error has a grid, or a shift of colour, that repeats with each LR pixel.

    The mean over 8x8 LR pixels is taken of each of their ``scale`` x ``scale`` places by itself;
    the loss is the mean square of those means. Texture, right or wrong, averages out in them: of
    all frequencies only those of the grid are touched. Adversarial training finds a grid sooner
    than hair, for it has high frequencies too, and content features hardly notice it.

    Args:
        error: SR minus HR, (N, 3, H, W), sides multiples of ``scale``.
        scale: sub-pixels to a side of an LR pixel.
    """
    height, width = error.shape[2:]
    rows, columns = min(8, height // scale), min(8, width // scale)
    whole = error[..., : height - height % (rows * scale), : width - width % (columns * scale)]
    places = whole.unflatten(3, (-1, columns, scale)).unflatten(2, (-1, rows, scale))
    means: Tensor = places.mean((3, 6))
    return means.square().mean()


def spectrum_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """How far SR has more or less detail than HR, at the frequencies that LR cannot hold.

    Luma's amplitudes are compared over rings of radial frequency above 1 / (2 x ``scale``) cycles
    per pixel: the root of the power in a ring, averaged over the crops. The loss is the sum of the
    squared differences, over HR's power in all rings: 1 where SR has no detail at all, 0.01 where
    its amplitudes are a tenth too small. Where the detail is, and whether it is the right one,
    other losses say. After the spectral regularisation of Durall et al. (arXiv 2003.01826); the
    logarithm that others take is ruled by the highest frequencies, which hold next to no power.

    Args:
        sr: square crops.
        hr: their originals.
        scale: how many times smaller LR is.
    """
    original = _ring_powers(hr, scale) + _ROUNDING
    amplitudes = (_ring_powers(sr, scale) + _ROUNDING).sqrt()
    return (amplitudes - original.sqrt()).square().sum() / original.sum()


def _ring_powers(images: Tensor, scale: int) -> Tensor:
    """Power of luma in each ring, under a Hann window; all of white noise's is its variance."""
    window, rings = _rings(images.shape[-1], scale, images.device)
    red, green, blue = images.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    transformed = torch.fft.rfft2((luma - luma.mean((1, 2), keepdim=True)) * window)
    power = transformed.real.square() + transformed.imag.square()
    return torch.mv(rings, power.mean(0).flatten())


@lru_cache(maxsize=4)
def _rings(side: int, scale: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The window (side, side), and for each ring, how much each coefficient counts in it."""
    line = torch.hann_window(side, periodic=True)
    window = torch.outer(line, line)
    window /= window.square().sum().sqrt()
    rows, columns = torch.fft.fftfreq(side), torch.fft.rfftfreq(side)
    frequency = torch.hypot(rows[:, None], columns).flatten()
    ring = (frequency * side).floor().long()
    mirrored = torch.full((side, len(columns)), 2.0)  # rfft2 leaves out half of the coefficients
    mirrored[:, 0] = 1.0
    if side % 2 == 0:
        mirrored[:, -1] = 1.0
    counts = torch.zeros(int(ring.max()) + 1, len(ring))
    counts[ring, torch.arange(len(ring))] = mirrored.flatten() * (frequency > 0.5 / scale)
    rings = counts[counts.sum(1) > 0] / side**2
    return window.to(device), rings.to(device)  # once, not in every step
