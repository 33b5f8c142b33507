from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import data
from stored_images import store_images

from deepdepixelate import downscale
from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.evaluation.degraded import DegradedImages
from deepdepixelate.parameters import DegradedSet

COUNT, HEIGHT, WIDTH = 12, 216, 176

SETS = {
    "clean": DegradedSet(),
    "jpeg_75": DegradedSet(jpeg_quality=75),
    "jpeg_30": DegradedSet(jpeg_quality=30),
    "noise_5": DegradedSet(noise_sigma=5),
    "noise_15": DegradedSet(noise_sigma=15),
    "blur_2": DegradedSet(blur_sigma=2),
    "mosaic_4": DegradedSet(mosaic_cell=4),
    "all": DegradedSet(blur_sigma=1, mosaic_cell=2, noise_sigma=3, jpeg_quality=60),
}


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory) -> ShardedImages:
    """Crops of a photograph, in shards of four."""
    photograph = data.astronaut()
    corners = [(top, left) for top in (0, 100, 200) for left in (0, 100, 200, 300)]
    crops = [photograph[top : top + HEIGHT, left : left + WIDTH] for top, left in corners]
    folder = tmp_path_factory.mktemp("hr")
    return store_images(folder, [f"{number}.png" for number in range(COUNT)], np.stack(crops))


def opened(hr: ShardedImages, settings: DegradedSet, limit: int | None = None) -> DegradedImages:
    return DegradedImages(hr, settings, scale=4, limit=limit)


def pixels(images: DegradedImages, size: int = 4) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All HR and LR images; checks the batches on the way."""

    def batches() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        for hr, lr in images.batches(size):
            assert hr.names == lr.names
            assert len(hr.names) == len(hr.pixels) == len(lr.pixels) <= size
            yield hr.pixels, lr.pixels

    hr, lr = (np.concatenate(each) for each in zip(*batches(), strict=True))
    assert len(hr) == len(images)
    return hr, lr


# -- which images ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, list(range(COUNT))),
        (100, list(range(COUNT))),
        (COUNT, list(range(COUNT))),
        (3, [0, 6, 11]),
        (2, [0, 11]),
        (1, [0]),
    ],
)
def test_images_are_spread_evenly(
    hr: ShardedImages, limit: int | None, expected: list[int]
) -> None:
    images = opened(hr, DegradedSet(), limit)
    names = [name for batch, _ in images.batches(2) for name in batch.names]
    assert names == [hr.names[index] for index in expected]
    np.testing.assert_array_equal(pixels(images)[0], [hr[index] for index in expected])
    stated = images.describe()["images"]
    assert stated == f"{len(expected)} of {COUNT}" + (
        ", spread evenly" if len(expected) < COUNT else ""
    )


@pytest.mark.parametrize("name", SETS)
def test_an_image_does_not_depend_on_batches_or_other_images(hr: ShardedImages, name: str) -> None:
    _, expected = pixels(opened(hr, SETS[name]))
    for size in (1, 2, 100):
        np.testing.assert_array_equal(pixels(opened(hr, SETS[name]), size)[1], expected)
    few = pixels(opened(hr, SETS[name], limit=3))[1]
    np.testing.assert_array_equal(few, expected[[0, 6, 11]])
    assert expected.dtype == np.uint8
    assert expected.shape == (COUNT, HEIGHT // 4, WIDTH // 4, 3)


# -- the degradations ------------------------------------------------------------------------------


def test_a_set_without_steps_is_bicubic(hr: ShardedImages) -> None:
    images, lr = pixels(opened(hr, DegradedSet()))
    np.testing.assert_array_equal(lr, downscale(images, 4))


@pytest.mark.parametrize("quality", [75, 50, 30])
def test_jpeg_is_a_round_trip_of_bicubic_lr(hr: ShardedImages, quality: int) -> None:
    images, lr = pixels(opened(hr, DegradedSet(jpeg_quality=quality)))
    for clean, found in zip(downscale(images, 4), lr, strict=True):
        file = simplejpeg.encode_jpeg(clean, quality=quality, colorsubsampling="420")
        np.testing.assert_array_equal(found, simplejpeg.decode_jpeg(file))


@pytest.mark.parametrize("sigma", [5, 15])
def test_noise_has_its_strength_and_differs_between_channels_and_seeds(
    hr: ShardedImages, sigma: float
) -> None:
    images, lr = pixels(opened(hr, DegradedSet(noise_sigma=sigma)))
    clean = downscale(images, 4)
    middle = (clean > 3 * sigma) & (clean < 255 - 3 * sigma)  # far from clipping
    noise = lr.astype(float) - clean
    assert noise[middle].std() == pytest.approx(sigma, rel=0.03)
    assert abs(noise[middle].mean()) < 0.05 * sigma
    inner = noise[middle.all(axis=-1)]
    correlations = np.corrcoef([*inner.T, np.roll(inner[:, 0], 1)])
    assert np.abs(correlations - np.eye(4)).max() < 0.05
    _, other = pixels(opened(hr, DegradedSet(noise_sigma=sigma, noise_seed=1)))
    different = (other.astype(float) - clean)[middle]
    assert abs(np.corrcoef(noise[middle], different)[0, 1]) < 0.05


def test_blur_is_a_gaussian_of_two_hr_pixels(hr: ShardedImages) -> None:
    images, lr = pixels(opened(hr, DegradedSet(blur_sigma=2)))
    blurred = gaussian_filter(images.astype(float), (0, 2, 2, 0), mode="reflect", truncate=3)
    expected = downscale(np.rint(blurred).astype(np.uint8), 4)
    assert np.abs(lr.astype(int) - expected).max() <= 1


def test_a_mosaic_is_the_mean_of_hr_pixels(hr: ShardedImages) -> None:
    images, lr = pixels(opened(hr, DegradedSet(mosaic_cell=4)))
    for row, column in ((0, 0), (4, 8), (12, 3)):
        cells = images[:, row * 16 : (row + 1) * 16, column * 16 : (column + 1) * 16]
        found = lr[:, row * 4 : (row + 1) * 4, column * 4 : (column + 1) * 4]
        assert (found == found[:, :1, :1]).all()
        assert np.abs(found[:, 0, 0] - cells.mean(axis=(1, 2))).max() <= 1  # rounded twice
    assert (lr[:, 52:54, :4] == lr[:, 52:53, :1]).all()  # 54 rows are 13 cells and a half


def test_a_mosaic_cell_larger_than_the_image_gives_one_colour(tmp_path: Path) -> None:
    image = data.astronaut()[100:132, 200:224]
    hr = store_images(tmp_path, ["a.png"], image[None])
    _, lr = pixels(opened(hr, DegradedSet(mosaic_cell=16)))
    assert lr.shape == (1, 8, 6, 3)
    assert (lr == lr[:, :1, :1]).all()
    assert np.abs(lr[0, 0, 0] - image.mean(axis=(0, 1))).max() <= 1


# -- in words --------------------------------------------------------------------------------------


def test_the_protocol_has_words_and_numbers(hr: ShardedImages) -> None:
    described = opened(hr, SETS["all"], limit=2).describe()
    assert described == {
        "degradation": "Gaussian blur, sigma 1 HR pixels; mosaic of 2x2 LR pixels; "
        "Gaussian noise, sigma 3 of 255; JPEG quality 60, 4:2:0",
        "images": "2 of 12, spread evenly",
        "blur_sigma": 1,
        "mosaic_cell": 2,
        "noise_sigma": 3,
        "noise_seed": 0,
        "jpeg_quality": 60,
    }
    assert opened(hr, DegradedSet()).describe()["degradation"] == "bicubic"
