import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.data import astronaut

import deepdepixelate
from deepdepixelate import downscale, upscale
from deepdepixelate.errors import UserError
from deepdepixelate.metrics.st_lpips import STLPIPS, st_lpips
from deepdepixelate.models.shift_tolerant import ShiftTolerantLPIPS, Trunk


def pair(*shape: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    hr = random.integers(0, 256, shape, dtype=np.uint8)
    sr: NDArray[np.uint8] = np.clip(hr + random.normal(0, 25, shape), 0, 255).astype(np.uint8)
    return sr, hr


def photograph() -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = astronaut()[:96, 160:256]
    return image


@pytest.mark.parametrize("trunk", ["alex", "vgg"])
def test_is_the_distance_of_the_network(trunk: Trunk) -> None:
    sr, hr = pair(2, 33, 28, 3)
    network = ShiftTolerantLPIPS(trunk)
    tensors = [
        torch.from_numpy(each).permute(0, 3, 1, 2).float() / 127.5 - 1.0 for each in (sr, hr)
    ]
    with torch.inference_mode():
        expected = network(*tensors).numpy()
    found = st_lpips(sr, hr, trunk=trunk)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_image_of_its_own_and_in_a_batch() -> None:
    sr, hr = pair(3, 24, 30, 3)
    together = st_lpips(sr, hr)
    alone = [st_lpips(*each) for each in zip(sr, hr, strict=True)]
    assert all(isinstance(each, float) for each in alone)
    assert together.tolist() == alone
    assert st_lpips(sr[:0], hr[:0]).shape == (0,)


def test_equal_images_have_no_distance_and_the_order_does_not_matter() -> None:
    sr, hr = pair(24, 30, 3)
    assert st_lpips(hr, hr) == 0
    assert st_lpips(sr, hr) == pytest.approx(st_lpips(hr, sr), abs=1e-7)
    assert st_lpips(sr, hr) > 0


def test_a_blur_is_farther_than_a_shift_by_a_pixel() -> None:
    hr = photograph()
    blurred = upscale(downscale(hr[None], 4), 4)[0]
    shifted = np.roll(hr, 1, axis=1)
    assert st_lpips(blurred, hr) > 5 * st_lpips(shifted, hr)


@pytest.mark.parametrize("shape", [(20, 40, 3), (40, 20, 3), (1, 1, 3)])
def test_images_that_are_too_small_have_none(shape: tuple[int, ...]) -> None:
    sr, hr = pair(*shape)
    assert np.isnan(st_lpips(sr, hr))
    assert np.isnan(st_lpips(sr[None], hr[None])).tolist() == [True]


def test_the_smallest_images() -> None:
    sr, hr = pair(21, 21, 3)
    assert st_lpips(sr, hr) > 0
    assert st_lpips(sr[:18, :18], hr[:18, :18], trunk="vgg") > 0


def test_images_of_different_shape_are_refused() -> None:
    sr, hr = pair(24, 24, 3)
    for first, second in ((sr[:, :-1], hr), (sr[None], hr), (sr, hr[None])):
        with pytest.raises(ValueError, match="differ in shape"):
            st_lpips(first, second)


@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 1), (2, 24, 24, 4), (1, 1, 24, 24, 3)])
def test_images_without_three_channels_are_refused(shape: tuple[int, ...]) -> None:
    images = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match="uint8 RGB"):
        st_lpips(images, images)


def test_floating_point_images_are_refused() -> None:
    sr, hr = pair(24, 24, 3)
    floating: NDArray[Any] = hr.astype(np.float32)
    for first, second in ((floating, floating), (sr, floating)):
        with pytest.raises(ValueError, match="uint8"):
            st_lpips(first, second)


def test_several_images_against_one_original() -> None:
    hr = photograph()
    images = [np.roll(hr, shift, axis=0) for shift in (0, 1, 5)]
    found = STLPIPS().distances(images, hr)
    assert found == [st_lpips(image, hr) for image in images]
    assert found[0] == 0 < found[1] < found[2]


def test_on_threads_as_on_one() -> None:
    metric = STLPIPS()
    pairs = [pair(24, 24, 3, seed=seed) for seed in range(16)]
    alone = [metric.distances([sr], hr) for sr, hr in pairs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: metric.distances([each[0]], each[1]), pairs))
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_output_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nonsense(self: ShiftTolerantLPIPS, *features: Any) -> torch.Tensor:
        return torch.tensor([torch.nan])

    monkeypatch.setattr(ShiftTolerantLPIPS, "distance", nonsense)
    sr, hr = pair(24, 24, 3)
    with pytest.raises(UserError, match=r"not finite on cpu.*evaluate\.device=cpu"):
        STLPIPS().distances([sr], hr)


# -- where it is found -----------------------------------------------------------------------------


def test_is_exported_beside_the_other_metrics() -> None:
    assert deepdepixelate.st_lpips is st_lpips
    for name in deepdepixelate.__all__:
        assert callable(getattr(deepdepixelate, name))
    with pytest.raises(AttributeError, match="no attribute 'lpips'"):
        deepdepixelate.lpips  # noqa: B018


def test_importing_the_package_alone_imports_no_torch() -> None:
    program = (
        "import sys, deepdepixelate; assert 'torch' not in sys.modules; "
        "from deepdepixelate import Enhancer, downscale, psnr_y, ssim_y, st_lpips, upscale; "
        "assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
