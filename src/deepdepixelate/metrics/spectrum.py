"""Power spectra of luma: how much detail an image has at each spatial frequency.

PSNR rewards a blur; the spectrum shows the detail that a blur lacks. An LR image holds nothing
above its Nyquist frequency, 1 / (2 x scale) cycles per HR pixel: all power above it was added by
the enlargement, and may or may not match the original.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from deepdepixelate.metrics.psnr_ssim import luma

BINS = 64
"""Number of rings of the radial average, from 0 to 0.5 cycles per pixel."""

_MIN_ENERGY = 1e-6
"""Smallest high-frequency energy of an original that can be divided by. Rounding to uint8 alone
leaves more than a thousand times as much."""

DEFINITION = (
    "energy of luma (mean removed, Hann window) at radial frequencies above the LR's Nyquist "
    "frequency, 1 / (2 x scale) cycles per pixel, divided by that of the original"
)
"""The high-frequency energy ratio in words, for ``evaluation.json``."""


@dataclass(frozen=True)
class Spectrum:
    """The power of an image by spatial frequency, in squared luma levels.

    Attributes:
        rings: mean power in each ring of frequencies, float64 (BINS,); comparable between images of
            any size. NaN for rings without a frequency, which small images have.
        high_frequency_energy: power above the Nyquist frequency of LR, summed and divided by the
            number of all frequencies.
    """

    rings: NDArray[np.float64]
    high_frequency_energy: float

    def high_frequency_ratio(self, original: "Spectrum") -> float:
        """High-frequency energy divided by the original's; NaN if the original has none."""
        if original.high_frequency_energy <= _MIN_ENERGY:
            return float("nan")
        return self.high_frequency_energy / original.high_frequency_energy


def ring_frequencies() -> NDArray[np.float64]:
    """Centre of each ring in cycles per HR pixel; float64 (BINS,)."""
    edges = np.linspace(0.0, 0.5, BINS + 1, dtype=np.float64)
    return (edges[:-1] + edges[1:]) / 2


def spectrum(image: NDArray[np.uint8], border: int, scale: int) -> Spectrum:
    """The power spectrum of an image's luma.

    The mean is removed and a Hann window applied, so that the jump between opposite edges adds no
    frequencies.

    Args:
        image: uint8 RGB (H, W, 3).
        border: pixels left out on each side, as in PSNR and SSIM.
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
    """Window, and the frequency, ring and weight of each ``rfft2`` coefficient, for one size."""

    window: NDArray[np.float64]
    frequency: NDArray[np.float64]
    ring: NDArray[np.intp]
    weight: NDArray[np.float64]


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> _Grid:
    from scipy.signal.windows import hann  # slow to import

    window = np.outer(hann(height, sym=False), hann(width, sym=False))
    window /= np.sqrt(np.sum(window**2))  # white noise then has its variance as power everywhere
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width))
    ring = np.minimum(frequency * (2 * BINS), BINS).astype(np.intp)  # above 0.5: unused ring
    weight = np.full(frequency.shape, 2.0)  # rfft2 leaves out the mirrored half
    weight[:, 0] = 1.0
    if width % 2 == 0:
        weight[:, -1] = 1.0
    return _Grid(window, frequency, ring.ravel(), weight)
