"""PSNR and SSIM on luma, following the protocol of the super-resolution literature.

Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255        (ITU-R BT.601-7, 16 to 235, not rounded)
PSNR = 10 log10(255^2 / mean((Y_sr - Y_hr)^2))

SSIM is the mean of the SSIM map of Wang et al., *Image quality assessment: from error visibility to
structural similarity* (2004). A border, by convention as wide as the scale, is left out of both.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from deepdepixelate.limits import SSIM_WINDOW

PROTOCOL: dict[str, Any] = {
    "channel": "Y of BT.601 (16-235) from uint8 RGB, not rounded",
    "psnr": "averaged over images, data range 255",
    "ssim": "Gaussian window 11x11 of sigma 1.5, K1 0.01, K2 0.03, population covariance, "
    "valid region, data range 255, averaged over images",
}
"""The protocol in words, for ``evaluation.json``."""

_LUMA_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255.0
_LUMA_OFFSET = 16.0
_DATA_RANGE = 255.0


def luma(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Luma: the Y of BT.601 in its studio range.

    Args:
        images: uint8 RGB, shape (H, W, 3) or (N, H, W, 3).

    Returns:
        float64, shape (H, W) or (N, H, W), 16 to 235.

    Raises:
        ValueError: the images are not uint8 with three channels last.
    """
    _check_rgb(images)
    return images @ _LUMA_WEIGHTS + _LUMA_OFFSET


def psnr_y(sr: NDArray[np.uint8], hr: NDArray[np.uint8], border: int) -> Any:
    """Peak signal-to-noise ratio on luma in dB; infinite for identical images.

    Args:
        sr: super-resolved image or images, uint8 RGB, shape (H, W, 3) or (N, H, W, 3).
        hr: the originals, same shape.
        border: pixels left out on each side, by convention the scale.

    Returns:
        A float for one image; a float64 array of shape (N,) for a batch.

    Raises:
        ValueError: the shapes differ, or nothing is left inside the border.
    """
    errors = _inner_luma(sr, hr, border)
    mean_squared_error = np.mean((errors[0] - errors[1]) ** 2, axis=(-2, -1))
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(_DATA_RANGE**2 / mean_squared_error)


def ssim_y(sr: NDArray[np.uint8], hr: NDArray[np.uint8], border: int) -> Any:
    """Structural similarity on luma, at most 1.

    Args:
        sr: super-resolved image or images, uint8 RGB, shape (H, W, 3) or (N, H, W, 3).
        hr: the originals, same shape.
        border: pixels left out on each side, by convention the scale.

    Returns:
        A float for one image; a float64 array of shape (N,) for a batch.

    Raises:
        ValueError: the shapes differ, or less than 11x11 pixels are left inside the border.
    """
    first, second = _inner_luma(sr, hr, border)
    if min(first.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"a border of {border} pixels leaves only {first.shape[-1]}x{first.shape[-2]}: "
            f"SSIM needs {SSIM_WINDOW}x{SSIM_WINDOW}"
        )
    if first.ndim == 2:
        return _ssim(first, second)
    return np.array([_ssim(*pair) for pair in zip(first, second, strict=True)])


def check_pair(sr: NDArray[np.uint8], hr: NDArray[np.uint8]) -> None:
    """Raise ValueError unless both are uint8 RGB of one shape, (H, W, 3) or (N, H, W, 3)."""
    _check_rgb(sr)
    _check_rgb(hr)
    if sr.shape != hr.shape:
        raise ValueError(f"the images to compare differ in shape: {sr.shape} and {hr.shape}")


def _check_rgb(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-1] != 3:
        raise ValueError(
            "images must be uint8 RGB of shape (H, W, 3) or (N, H, W, 3), "
            f"not {images.dtype} of shape {tuple(images.shape)}"
        )


def _inner_luma(
    sr: NDArray[np.uint8], hr: NDArray[np.uint8], border: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    check_pair(sr, hr)
    height, width = sr.shape[-3:-1]
    if border < 0 or min(height, width) <= 2 * border:
        raise ValueError(f"a border of {border} pixels leaves nothing of {width}x{height}")
    inner = (..., slice(border, height - border), slice(border, width - border), slice(None))
    return luma(sr[inner]), luma(hr[inner])


def _ssim(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(
        structural_similarity(
            first,
            second,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=_DATA_RANGE,
        )
    )
