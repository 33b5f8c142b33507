import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate import downscale, psnr_y, ssim_y, upscale

SCALES = [2, 3, 4, 8]
CHANNELS = [1, 3]
SMALL_SIZES = [(1, 1), (1, 6), (6, 1), (2, 3), (5, 2), (13, 9)]
CONTENTS = ["random", "extreme", "steps"]


# MATLAB's imresize in plain NumPy: its contributions() as a matrix for each axis, in double
# precision.


def keys_kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d <= 2, far, 0.0))


def resize_matrix(size: int, new_size: int) -> NDArray[np.float64]:
    factor = new_size / size
    stretch = min(factor, 1.0)
    kernel_width = 4 / stretch
    centres = np.arange(1, new_size + 1) / factor + 0.5 * (1 - 1 / factor)
    leftmost = np.floor(centres - kernel_width / 2)
    positions = leftmost[:, None] + np.arange(int(np.ceil(kernel_width)) + 2)
    weights = stretch * keys_kernel(stretch * (centres[:, None] - positions))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])
    sources = mirrored[np.mod(positions - 1, 2 * size).astype(int)]
    matrix = np.zeros((new_size, size))
    np.add.at(matrix, (np.arange(new_size)[:, None], sources), weights)
    return matrix


def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.floor(values + 0.5), 0, 255)


def reference_downscale(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    _, height, width, _ = images.shape
    rows = resize_matrix(height, height // scale)
    columns = resize_matrix(width, width // scale)
    shorter = rounded(np.einsum("oh,nhwc->nowc", rows, images.astype(np.float64)))
    return rounded(np.einsum("ow,nhwc->nhoc", columns, shorter)).astype(np.uint8)


def reference_upscale(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    _, height, width, _ = images.shape
    rows = resize_matrix(height, height * scale)
    columns = resize_matrix(width, width * scale)
    taller = np.einsum("oh,nhwc->nowc", rows, images.astype(np.float64))
    return rounded(np.einsum("ow,nhwc->nhoc", columns, taller)).astype(np.uint8)


def make_images(content: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    random = np.random.default_rng(sum(shape))
    if content == "extreme":
        return (random.integers(0, 2, shape) * 255).astype(np.uint8)
    if content == "steps":  # few levels, so that sums often end in exactly one half
        return (random.integers(0, 4, shape) * 64).astype(np.uint8)
    return random.integers(0, 256, shape, dtype=np.uint8)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def benchmark_pairs(shared: Path, name: str) -> list[tuple[Path, Path]]:
    folder = shared / "benchmarks" / name
    originals = sorted((folder / "HR").glob("*.png"))
    return [(path, folder / "LRx4" / path.name) for path in originals]


# -- downscale -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("set5", 5), ("set14", 14)])
def test_downscale_equals_matlabs_own_files(shared: Path, name: str, count: int) -> None:
    pairs = benchmark_pairs(shared, name)
    assert len(pairs) == count
    for hr_path, lr_path in pairs:
        hr, lr = read_rgb(hr_path), read_rgb(lr_path)
        np.testing.assert_array_equal(downscale(hr[None], 4)[0], lr, err_msg=str(hr_path.name))


def test_downscale_of_a_gray_benchmark_image_needs_no_rgb(shared: Path) -> None:
    found = 0
    for hr_path, lr_path in benchmark_pairs(shared, "set14"):
        with Image.open(hr_path) as hr, Image.open(lr_path) as lr:
            if hr.mode != "L":
                continue
            found += 1
            shrunk = downscale(np.asarray(hr)[None, :, :, None], 4)
            np.testing.assert_array_equal(shrunk[0, :, :, 0], np.asarray(lr.convert("L")))
    assert found == 1


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("scale", SCALES)
def test_downscale_equals_the_reference(scale: int, channels: int, content: str) -> None:
    for rows, columns in SMALL_SIZES:
        images = make_images(content, (2, rows * scale, columns * scale, channels))
        np.testing.assert_array_equal(
            downscale(images, scale),
            reference_downscale(images, scale),
            err_msg=f"to {columns}x{rows}",
        )


@pytest.mark.parametrize("scale", [4, 3])
def test_downscale_of_a_batch_equals_one_by_one(scale: int) -> None:
    images = make_images("random", (7, 72 * scale, 60 * scale, 3))  # more than one step's worth
    together = downscale(images, scale)
    assert together.shape == (7, 72, 60, 3)
    for index in range(len(images)):
        np.testing.assert_array_equal(
            together[index], downscale(images[index : index + 1], scale)[0]
        )


def test_downscale_keeps_a_flat_image_flat() -> None:
    for value in (0, 1, 127, 128, 254, 255):
        images = np.full((1, 24, 24, 3), value, np.uint8)
        assert (downscale(images, 4) == value).all()


def test_downscale_of_a_view_equals_that_of_a_copy() -> None:
    images = make_images("random", (4, 24, 32, 3))
    view = images[::2, :, ::-1]
    np.testing.assert_array_equal(downscale(view, 4), downscale(view.copy(), 4))


def test_downscale_of_no_image_gives_no_image() -> None:
    assert downscale(np.empty((0, 24, 32, 3), np.uint8), 4).shape == (0, 6, 8, 3)


def test_downscale_leaves_its_input_as_it_was() -> None:
    images = make_images("random", (2, 24, 24, 3))
    before = images.copy()
    for scale in (3, 4):
        downscale(images, scale)
        np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("scale", [3, 4])
def test_memory_mapped_images_work_without_warnings(tmp_path: Path, scale: int) -> None:
    images = make_images("random", (3, 24, 36, 3))
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert not mapped.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shrunk, enlarged = downscale(mapped, scale), upscale(mapped, scale)
    np.testing.assert_array_equal(shrunk, downscale(images, scale))
    np.testing.assert_array_equal(enlarged, upscale(images, scale))


@pytest.mark.slow
def test_downscale_is_the_same_without_vector_instructions() -> None:
    images = make_images("random", (2, 32, 48, 3))
    program = (
        "import sys, numpy as np\n"
        "from deepdepixelate import downscale\n"
        "images = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(2, 32, 48, 3)\n"
        "for scale in (2, 4, 8): sys.stdout.buffer.write(downscale(images, scale).tobytes())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        input=images.tobytes(),
        capture_output=True,
        check=True,
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
    ).stdout
    assert answer == b"".join(reference_downscale(images, scale).tobytes() for scale in (2, 4, 8))


# -- upscale ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("scale", SCALES)
def test_upscale_equals_the_reference(scale: int, channels: int, content: str) -> None:
    for height, width in SMALL_SIZES:
        if (channels, width) == (1, 1):
            continue  # has a test of its own
        images = make_images(content, (2, height, width, channels))
        np.testing.assert_array_equal(
            upscale(images, scale),
            reference_upscale(images, scale),
            err_msg=f"of {width}x{height}",
        )


@pytest.mark.parametrize("size", [(1, 1), (6, 1), (1, 6)])
def test_upscale_of_a_gray_image_one_pixel_wide_or_high(size: tuple[int, int]) -> None:
    images = make_images("random", (2, *size, 1))
    np.testing.assert_array_equal(upscale(images, 4), reference_upscale(images, 4))


def test_upscale_of_a_batch_equals_one_by_one() -> None:
    images = make_images("random", (5, 54, 44, 3))
    together = upscale(images, 4)
    assert together.shape == (5, 216, 176, 3)
    for index in range(len(images)):
        np.testing.assert_array_equal(together[index], upscale(images[index : index + 1], 4)[0])


def test_upscale_does_not_wrap_around_where_it_overshoots() -> None:
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[:, :, 4:] = 255
    enlarged = upscale(images, 4)
    assert (enlarged[:, :, :8] == 0).all()
    assert (enlarged[:, :, -8:] == 255).all()


@pytest.mark.parametrize(
    ("name", "psnr", "ssim"), [("set5", 28.43, 0.8113), ("set14", 26.09, 0.7049)]
)
def test_bicubic_figures_of_the_benchmarks(
    shared: Path, name: str, psnr: float, ssim: float
) -> None:
    psnrs, ssims = [], []
    for hr_path, lr_path in benchmark_pairs(shared, name):
        hr, sr = read_rgb(hr_path), upscale(read_rgb(lr_path)[None], 4)[0]
        psnrs.append(psnr_y(sr, hr, 4))
        ssims.append(ssim_y(sr, hr, 4))
    assert round(float(np.mean(psnrs)), 2) == psnr
    assert round(float(np.mean(ssims)), 4) == ssim


# -- both ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", [downscale, upscale])
@pytest.mark.parametrize(
    ("images", "scale", "message"),
    [
        (np.zeros((1, 8, 8, 3), np.float32), 4, r"uint8.*not float32 of shape \(1, 8, 8, 3\)"),
        (np.zeros((1, 8, 8, 3), np.int16), 4, "uint8.*not int16"),
        (np.zeros((8, 8, 3), np.uint8), 4, r"\(N, H, W, C\).*\(8, 8, 3\)"),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), 4, r"\(N, H, W, C\)"),
        (np.zeros((1, 0, 8, 3), np.uint8), 4, r"\(1, 0, 8, 3\)"),
        (np.zeros((1, 8, 8, 0), np.uint8), 4, r"\(1, 8, 8, 0\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), 1, "scale must be 2 or more, not 1"),
        (np.zeros((1, 8, 8, 3), np.uint8), 0, "scale must be 2 or more, not 0"),
        (np.zeros((1, 8, 8, 3), np.uint8), -4, "scale must be 2 or more, not -4"),
    ],
)
def test_wrong_input_is_refused(
    resize: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]],
    images: NDArray[np.uint8],
    scale: int,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        resize(images, scale)


@pytest.mark.parametrize("shape", [(1, 10, 8, 3), (1, 8, 10, 3), (1, 3, 3, 3)])
def test_downscale_refuses_sides_that_the_scale_does_not_divide(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"{shape[2]}x{shape[1]} .*multiples of 4"):
        downscale(np.zeros(shape, np.uint8), 4)
