from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deepdepixelate import psnr_y, ssim_y
from deepdepixelate.metrics.psnr_ssim import luma

Metric = Callable[[NDArray[np.uint8], NDArray[np.uint8], int], Any]


def pair(shape: tuple[int, ...], seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    hr = random.integers(0, 256, shape, dtype=np.uint8)
    noise = random.normal(0, 12, shape)
    sr = np.clip(hr + noise, 0, 255).astype(np.uint8)
    return sr, hr


def studio_luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue  # of 0 to 255
    studio: NDArray[np.float64] = 16 + 219 * luminance / 255
    return studio


def reference_ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    offsets = np.arange(11) - 5
    gaussian = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(gaussian, gaussian)
    window /= window.sum()

    def weighted_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = np.einsum(
            "hwij,ij->hw", sliding_window_view(values, (11, 11)), window
        )
        return means

    mean_x, mean_y = weighted_mean(x), weighted_mean(y)
    variance_x = weighted_mean(x * x) - mean_x**2
    variance_y = weighted_mean(y * y) - mean_y**2
    covariance = weighted_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(similarity.mean())


# -- luma ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
        ((128, 128, 128), 16 + 219 * 128 / 255),
    ],
)
def test_luma_of_known_colours(colour: tuple[int, int, int], expected: float) -> None:
    image = np.full((2, 2, 3), colour, np.uint8)
    np.testing.assert_allclose(luma(image), expected, atol=1e-9)


def test_luma_agrees_with_the_definition_and_keeps_leading_axes() -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    assert luma(images).shape == (2, 4, 5)
    np.testing.assert_allclose(luma(images), studio_luma(images), atol=2e-3)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
    ],
)
def test_luma_refuses_anything_but_uint8_rgb(images: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        luma(images)


# -- PSNR and SSIM ---------------------------------------------------------------------------------


@pytest.mark.parametrize("border", [0, 1, 4])
def test_psnr_agrees_with_scikit_image(border: int) -> None:
    sr, hr = pair((40, 33, 3))
    inner = slice(border, 40 - border), slice(border, 33 - border)
    expected = peak_signal_noise_ratio(luma(hr)[inner], luma(sr)[inner], data_range=255)
    assert psnr_y(sr, hr, border) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("border", [0, 1, 4])
def test_ssim_agrees_with_scikit_image_and_with_the_definition(border: int) -> None:
    sr, hr = pair((40, 33, 3))
    inner = slice(border, 40 - border), slice(border, 33 - border)
    first, second = luma(sr)[inner], luma(hr)[inner]
    expected = structural_similarity(
        first,
        second,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert ssim_y(sr, hr, border) == pytest.approx(expected, abs=1e-12)
    assert ssim_y(sr, hr, border) == pytest.approx(reference_ssim(first, second), abs=1e-10)


def test_psnr_of_a_known_error() -> None:
    hr = np.full((20, 20, 3), 100, np.uint8)
    sr = np.full((20, 20, 3), 110, np.uint8)
    luma_error = 10 * 219 / 255
    assert psnr_y(sr, hr, 4) == pytest.approx(20 * np.log10(255 / luma_error), abs=1e-9)


def test_what_lies_in_the_border_does_not_count() -> None:
    sr, hr = pair((32, 32, 3))
    changed = sr.copy()
    changed[:4], changed[-4:], changed[:, :4], changed[:, -4:] = 0, 255, 0, 255
    assert psnr_y(changed, hr, 4) == psnr_y(sr, hr, 4)
    assert ssim_y(changed, hr, 4) == ssim_y(sr, hr, 4)
    assert psnr_y(changed, hr, 3) < psnr_y(sr, hr, 3)


def test_a_batch_scores_as_its_images_do_one_by_one() -> None:
    sr, hr = pair((5, 24, 30, 3))
    psnr, ssim = psnr_y(sr, hr, 4), ssim_y(sr, hr, 4)
    assert psnr.shape == ssim.shape == (5,)
    assert psnr.dtype == ssim.dtype == np.float64
    for index in range(5):
        assert psnr[index] == pytest.approx(psnr_y(sr[index], hr[index], 4), abs=1e-12)
        assert ssim[index] == pytest.approx(ssim_y(sr[index], hr[index], 4), abs=1e-12)


def test_a_single_image_gives_floats() -> None:
    sr, hr = pair((24, 30, 3))
    assert isinstance(psnr_y(sr, hr, 4), float)
    assert isinstance(ssim_y(sr, hr, 4), float)


@pytest.mark.filterwarnings("error")
def test_equal_images_are_infinitely_good() -> None:
    _, hr = pair((3, 24, 24, 3))
    assert psnr_y(hr[0], hr[0], 4) == np.inf
    assert ssim_y(hr[0], hr[0], 4) == pytest.approx(1.0, abs=1e-12)
    assert (psnr_y(hr, hr, 4) == np.inf).all()
    np.testing.assert_allclose(ssim_y(hr, hr, 4), 1.0, atol=1e-12)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
def test_images_of_different_shape_are_refused(metric: Metric) -> None:
    sr, hr = pair((24, 24, 3))
    with pytest.raises(ValueError, match=r"differ in shape: \(24, 23, 3\) and \(24, 24, 3\)"):
        metric(sr[:, :-1], hr, 4)
    with pytest.raises(ValueError, match="differ in shape"):
        metric(sr[None], hr, 4)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
@pytest.mark.parametrize("border", [12, 13, 100, -1])
def test_a_border_that_leaves_nothing_is_refused(metric: Metric, border: int) -> None:
    sr, hr = pair((24, 40, 3))
    with pytest.raises(ValueError, match=f"border of {border} pixels"):
        metric(sr, hr, border)


def test_the_smallest_image_that_ssim_can_score() -> None:
    sr, hr = pair((19, 30, 3))
    assert ssim_y(sr, hr, 4) == pytest.approx(
        reference_ssim(luma(sr)[4:-4, 4:-4], luma(hr)[4:-4, 4:-4]), abs=1e-10
    )
    with pytest.raises(ValueError, match="SSIM needs 11x11"):
        ssim_y(sr, hr, 5)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 1), (2, 24, 24, 4)])
def test_images_without_three_channels_are_refused_readably(
    metric: Metric, shape: tuple[int, ...]
) -> None:
    images = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match="RGB"):
        metric(images, images, 4)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
def test_floating_point_images_are_refused(metric: Metric) -> None:
    images: NDArray[Any] = np.zeros((24, 24, 3), np.float32)
    with pytest.raises(ValueError, match="uint8"):
        metric(images, images, 4)
