"""Losses on images (N, 3, H, W) in [-1, 1] that PyTorch does not have. Float32 scalars."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

_HARDLY_VISIBLE = 2.5 / 127.5
"""Deviation on a smooth area, or slope per pixel there: 2.5 of 255 levels."""

_ROUNDING = 1e-8
"""Power in each cell that the rounding to 8 bits leaves anyway: (2 / 255)^2 / 12 over some 550."""


def negative_psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Minus the mean over crops of their PSNR, in dB.

    It is what an evaluation averages. Mean squared error is ruled by the few crops with much
    texture; here, each has the same weight. A crop without any error counts as 66 dB.
    """
    squared_errors = (sr - hr).square().mean((1, 2, 3))
    return 10 * torch.log10((squared_errors + 1e-6) / 2**2).mean()


def grid_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """How visibly the error has a grid, or a shift of colour, that repeats with each LR pixel.

    Hair hides a grid that is plain to see on skin and walls, and hides a coloured one less than a
    gray one. So the error of each component of YCbCr is first divided by the deviation of HR's
    within the LR pixel around it (the root of the sum of its square and that of 2.5 levels). Then
    the mean over 2x2 LR pixels is taken of each of their ``scale`` x ``scale`` places by itself;
    the loss is the mean square of those means. Texture, right or wrong, partly averages out in
    them. Adversarial training finds a grid sooner than hair, for it has high frequencies too, and
    content features hardly notice it.

    Args:
        sr: (N, 3, H, W), sides multiples of ``scale``.
        hr: their originals.
        scale: sub-pixels to a side of an LR pixel.
    """
    height, width = hr.shape[2:]
    window = min(2, height // scale), min(2, width // scale)
    error, detail = _error_in_lr_pixels(sr, hr, scale, window)
    means: Tensor = (error * (detail + _HARDLY_VISIBLE**2).rsqrt()).mean((3, 6))
    return means.square().mean()


def ripple_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """How visibly SR ripples within LR pixels that are smooth in HR.

    Adversarial training sharpens edges, and what it does so reaches beyond them: a seam, and some
    waves, on a wall or skin that hides nothing. The grid loss misses those that change from one LR
    pixel to the next. So this is the mean square of the error of each component of YCbCr, without
    its mean over the LR pixel, in units of 2.5 levels, times the square of that visible share of
    it which 2.5 levels have beside HR's own detail there: all where HR is smooth, a hundredth
    where it deviates by 7.5 levels. Detail has its freedom where there is some.

    Args:
        sr: (N, 3, H, W), sides multiples of ``scale``.
        hr: their originals.
        scale: sub-pixels to a side of an LR pixel.
    """
    error, detail = _error_in_lr_pixels(sr, hr, scale, window=(1, 1))
    ripples = error - error.mean((4, 7), keepdim=True)
    visible_share = _HARDLY_VISIBLE**2 / (detail + _HARDLY_VISIBLE**2)
    return (ripples.square() * visible_share.square()).mean() / _HARDLY_VISIBLE**2


def pattern_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """How much of the error follows the slopes of HR in the same pattern in each LR pixel.

    A strong edge hides a grid from ``grid_loss``, and the grid jags the edge: some of the
    ``scale`` x ``scale`` places in an LR pixel come out darker, or sharper, than their neighbours,
    the more the steeper HR is around them. So the error of each component of YCbCr is correlated,
    at each place by itself and over all crops, with seven images of HR's luma in LR pixels: a
    constant, the slopes down and to the right, the three second differences and the steepness. The
    loss is the power of what each of them alone explains of the error, averaged over the places
    and summed, over that of HR's luma within LR pixels (and of 2.5 levels). All of those images
    can be seen in LR: an error that follows them could have been avoided, and detail, right or
    wrong, that LR does not tell has its freedom.

    Args:
        sr: (N, 3, H, W), sides multiples of ``scale``.
        hr: their originals.
        scale: sub-pixels to a side of an LR pixel.
    """
    error, detail = _error_in_lr_pixels(sr, hr, scale, window=(1, 1))
    images = _slopes_and_bends(avg_pool2d(_luma(hr), scale))
    images = images * (images.square().mean((0, 2, 3), keepdim=True) + 1e-12).rsqrt()
    followed = torch.einsum("nchiwj,nfhw->cfij", error[:, :, :, 0, :, :, 0], images)
    power = (followed / images[:, 0].numel()).square().mean((2, 3)).sum()
    total: Tensor = power / (detail[:, 0].mean() + _HARDLY_VISIBLE**2)
    return total


def jag_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """How much more jagged, or dotted, SR is than HR where HR runs smoothly.

    The smaller eigenvalue of luma's structure tensor (Foerstner and Guelch, 1987), here over
    windows of ``scale`` slopes to a side, is the mean square of the slopes in that direction in
    which the image changes least: along an edge, or along strands of hair. The loss is the mean
    square of the excess of SR's root of it over HR's, as a share of HR's; to both, 2.5 levels per
    pixel are added, as squares. An edge that is as smooth as HR's, but softer, sharper, displaced
    or turned, costs nothing, and neither does any detail where HR has as much. Other losses ask for
    as much detail as HR has, and it comes cheapest as dots on edges, where contrast is to hand.

    Args:
        sr: (N, 3, H, W), sides of more than ``scale``.
        hr: their originals.
        scale: sub-pixels to a side of an LR pixel.
    """
    along_sr, along_hr = (
        _least_squared_slopes(_luma(images), scale) + _HARDLY_VISIBLE**2 for images in (sr, hr)
    )
    excess = ((along_sr / along_hr).sqrt() - 1).clamp_min(0)
    return excess.square().mean()


def spectrum_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """How far SR has more or less detail than HR, at the frequencies that LR cannot hold.

    Luma's amplitudes are compared over cells of vertical and horizontal frequency, beyond a radius
    of 1 / (2 x ``scale``) cycles per pixel: the root of the power in a cell, averaged over the
    crops. The loss is the sum of the squared differences, over HR's power in all cells: 1 where SR
    has no detail at all, 0.01 where its amplitudes are a tenth too small. Where the detail is, and
    whether it is the right one, other losses say. After the spectral regularisation of Durall et
    al. (arXiv 2003.01826), but for two things. Over their rings, patterns of the generator's own
    sub-pixels can stand for an original's power in all directions; and the logarithm that others
    take is ruled by the highest frequencies, which hold next to no power.

    Args:
        sr: square crops.
        hr: their originals.
        scale: how many times smaller LR is.
    """
    original = _cell_powers(hr, scale) + _ROUNDING
    amplitudes = (_cell_powers(sr, scale) + _ROUNDING).sqrt()
    return (amplitudes - original.sqrt()).square().sum() / original.sum()


@dataclass(frozen=True)
class FurtherLosses:
    """Factors on losses that the SRGAN paper does not have; with 0, one is not computed."""

    grid: float = 0.0
    ripple: float = 0.0
    pattern: float = 0.0
    jag: float = 0.0
    spectrum: float = 0.0

    def __call__(self, sr: Tensor, hr: Tensor, scale: int) -> dict[str, tuple[float, Tensor]]:
        """By name, the factor and the loss."""
        losses = {
            "grid_loss": (self.grid, grid_loss),
            "ripple_loss": (self.ripple, ripple_loss),
            "pattern_loss": (self.pattern, pattern_loss),
            "jag_loss": (self.jag, jag_loss),
            "spectrum_loss": (self.spectrum, spectrum_loss),
        }
        return {
            name: (factor, loss(sr, hr, scale)) for name, (factor, loss) in losses.items() if factor
        }


NO_FURTHER_LOSSES = FurtherLosses()


def _error_in_lr_pixels(
    sr: Tensor, hr: Tensor, scale: int, window: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The error in YCbCr, and HR's variance within each LR pixel.

    Both are (N, 3, windows, rows, sub-pixels, windows, columns, sub-pixels), in windows of (rows,
    columns) LR pixels; the variance has one value for all sub-pixels. What is left at the far
    borders is dropped.
    """
    rows, columns = window

    def in_windows(images: Tensor) -> Tensor:
        height, width = (
            side - side % step for side, step in zip(images.shape[2:], steps, strict=True)
        )
        whole = images[..., :height, :width]
        windows: Tensor = whole.unflatten(3, (-1, columns, scale)).unflatten(2, (-1, rows, scale))
        return windows

    steps = rows * scale, columns * scale
    originals = in_windows(_ycbcr(hr))
    detail = originals.var((4, 7), correction=0, keepdim=True)
    return in_windows(_ycbcr(sr)) - originals, detail


def _least_squared_slopes(luma: Tensor, window: int) -> Tensor:
    """Mean square of slopes per pixel in the direction of least change, of each window.

    Slopes are taken within 2x2 pixels: differences over three do not see what changes with each
    pixel, and dots would be of that.
    """
    right = (luma[:, :, 1:] - luma[:, :, :-1]).unfold(1, 2, 1).mean(-1)
    down = (luma[:, 1:] - luma[:, :-1]).unfold(2, 2, 1).mean(-1)
    products = torch.stack([right.square(), down.square(), right * down], dim=1)
    squared_right, squared_down, product = avg_pool2d(products, window, stride=1).unbind(1)
    difference = squared_right - squared_down
    spread = (difference.square() + 4 * product.square() + 1e-12).sqrt()
    least: Tensor = (squared_right + squared_down - spread) / 2
    return least.clamp_min(0)


def _slopes_and_bends(luma: Tensor) -> Tensor:
    """Of luma (N, h, w): 1, both slopes, three second differences, steepness; (N, 7, h, w)."""
    around = pad(luma, (1, 1, 1, 1), mode="replicate")
    right = (around[:, 1:-1, 2:] - around[:, 1:-1, :-2]) / 2
    down = (around[:, 2:, 1:-1] - around[:, :-2, 1:-1]) / 2
    bend_right = around[:, 1:-1, 2:] + around[:, 1:-1, :-2] - 2 * luma
    bend_down = around[:, 2:, 1:-1] + around[:, :-2, 1:-1] - 2 * luma
    twist = around[:, 2:, 2:] + around[:, :-2, :-2] - around[:, 2:, :-2] - around[:, :-2, 2:]
    steepness = torch.hypot(right, down)
    one = torch.ones_like(luma)
    return torch.stack([one, right, down, bend_right, bend_down, twist, steepness], dim=1)


def _ycbcr(images: Tensor) -> Tensor:
    """Luma and the differences of blue and red from it, of ITU-R BT.601; all of the same range."""
    red, _, blue = images.unbind(1)
    luma = _luma(images)
    return torch.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402], dim=1)


def _luma(images: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, (N, H, W)."""
    red, green, blue = images.unbind(1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _cell_powers(images: Tensor, scale: int) -> Tensor:
    """Power of luma in each cell, under a Hann window; all of white noise's is its variance."""
    window, cells = _cells(images.shape[-1], scale, images.device)
    luma = _luma(images)
    transformed = torch.fft.rfft2((luma - luma.mean((1, 2), keepdim=True)) * window)
    power = transformed.real.square() + transformed.imag.square()
    return torch.mv(cells, power.mean(0).flatten())


@lru_cache(maxsize=4)
def _cells(side: int, scale: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The window (side, side), and for each cell, how much each coefficient counts in it.

    Cells are 1 / 48 cycles per pixel wide and high. Frequencies of either sign share one.
    """
    line = torch.hann_window(side, periodic=True)
    window = torch.outer(line, line)
    window /= window.square().sum().sqrt()
    lines, columns = torch.arange(side), torch.arange(side // 2 + 1)
    rows = torch.minimum(lines, side - lines)
    radius = torch.hypot(rows[:, None] / side, columns / side).flatten()
    nearest = (2 * 48 * columns + side) // (2 * side)  # cell of so many cycles over a side
    cell = (nearest[rows][:, None] * (48 // 2 + 1) + nearest[columns]).flatten()
    mirrored = torch.full((side, len(columns)), 2.0)  # rfft2 leaves out half of the coefficients
    mirrored[:, 0] = 1.0
    if side % 2 == 0:
        mirrored[:, -1] = 1.0
    counts = torch.zeros(int(cell.max()) + 1, len(cell))
    counts[cell, torch.arange(len(cell))] = mirrored.flatten() * (radius > 0.5 / scale)
    cells = counts[counts.sum(1) > 0] / side**2
    return window.to(device), cells.to(device)  # once, not in every step
