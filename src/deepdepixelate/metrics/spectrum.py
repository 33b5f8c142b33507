"""Power spectra of luma: how much detail an image has, whether or not it is the right detail.

PSNR rewards a safe blur; what a blur lacks shows here. Beyond the Nyquist frequency of the LR image
nothing of the original is left in the input: all power there was added by the enlargement.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from deepdepixelate.metrics.pixels import luma

BINS = 64
"""Rings of the radial average, from 0 to 0.5 cycles per pixel."""

_NOTHING_THERE = 1e-6
"""High-frequency energy of an original below which a share of it means nothing: rounding alone
leaves more than a thousand times as much."""

DEFINITION = (
    "energy of luma (mean removed, Hann window) at radial frequencies above the LR's Nyquist "
    "frequency, 1 / (2 x scale) cycles per pixel, divided by that of the original"
)
"""The high-frequency energy ratio in words, for the files that carry figures."""


@dataclass(frozen=True)
class Spectrum:
    """Where an image's power lies.

    Attributes:
        rings: mean power at equal frequencies, float64 (BINS,), in squared luma levels; comparable
            between images of any size. NaN where an image is too small to have the frequency.
        high_frequency_energy: mean power over all frequencies, of those that LR cannot hold.
    """

    rings: NDArray[np.float64]
    high_frequency_energy: float

    def high_frequency_ratio(self, original: "Spectrum") -> float:
        """High-frequency energy as a share of the original's; NaN where that has none."""
        if original.high_frequency_energy <= _NOTHING_THERE:
            return float("nan")
        return self.high_frequency_energy / original.high_frequency_energy


def ring_frequencies() -> NDArray[np.float64]:
    """The middle of each ring, in cycles per pixel of HR; float64 (BINS,)."""
    edges = np.linspace(0.0, 0.5, BINS + 1, dtype=np.float64)
    return (edges[:-1] + edges[1:]) / 2


def spectrum(image: NDArray[np.uint8], border: int, scale: int) -> Spectrum:
    """The power spectrum of an image's luma.

    A Hann window is laid over it, so that opposite edges, which do not continue each other, add no
    frequencies of their own.

    Args:
        image: uint8 RGB (H, W, 3).
        border: pixels left out at each side, as in PSNR and SSIM.
        scale: how many times smaller LR is.
    """
    height, width, _ = image.shape
    inner = luma(image[border : height - border, border : width - border])
    grid = _grid(*inner.shape)
    transformed = fft.rfft2((inner - inner.mean()) * grid.window)
    power = (transformed.real**2 + transformed.imag**2) * grid.weight
    rings = np.bincount(grid.ring, power.ravel(), minlength=BINS + 1)[:BINS]
    counts = np.bincount(grid.ring, grid.weight.ravel(), minlength=BINS + 1)[:BINS]
    high = power[grid.frequency > 0.5 / scale].sum() / grid.weight.sum()
    with np.errstate(invalid="ignore"):
        return Spectrum(rings / counts, float(high))


@dataclass(frozen=True)
class _Grid:
    """What the coefficients of ``rfft2`` mean, for images of one size."""

    window: NDArray[np.float64]
    frequency: NDArray[np.float64]
    ring: NDArray[np.intp]
    weight: NDArray[np.float64]


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> _Grid:
    from scipy.signal.windows import hann  # its package takes long to import

    window = np.outer(hann(height, sym=False), hann(width, sym=False))
    window /= np.sqrt(np.sum(window**2))  # so that white noise has its variance as power anywhere
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width))
    ring = np.minimum(frequency * (2 * BINS), BINS).astype(np.intp)  # beyond 0.5: the last, unused
    weight = np.full(frequency.shape, 2.0)  # rfft2 leaves out the mirrored half
    weight[:, 0] = 1.0
    if width % 2 == 0:
        weight[:, -1] = 1.0
    return _Grid(window, frequency, ring.ravel(), weight)
