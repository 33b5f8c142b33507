import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut
from skimage.registration import phase_cross_correlation
from small_faces import picture
from stored_images import store_images

from deepdepixelate import downscale, upscale
from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.realistic import (
    Degradation,
    add_noise,
    apply_degradation,
    blur_kernel,
    compress_jpeg,
    convolve,
    degrade_realistically,
    draw,
    mosaic,
    shrink_image,
)
from deepdepixelate.data.resize import KERNEL
from deepdepixelate.data.shards import ImagePairs, Manifest, ShardedImages
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.errors import UserError
from deepdepixelate.parallel import LocalEngine
from deepdepixelate.parameters import check_parameters
from deepdepixelate.parameters.degrading import EnlargedParameters, RealisticParameters
from test_parameters import changed, message, read_conf


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    return read_conf("base")


@pytest.fixture(scope="module")
def parameters(defaults: dict[str, Any]) -> RealisticParameters:
    return check_parameters(defaults).degrade.realistic


def write_hr(folder: Path, seeds: list[int]) -> ShardedImages:
    names = [f"{seed}.png" for seed in seeds]
    pixels = np.stack([picture(seed) for seed in seeds])
    return store_images(folder, names, pixels, split="train", per_shard=50)


def write_lr(
    folder: Path, hr: ShardedImages, parameters: RealisticParameters | None, workers: int = 1
) -> Manifest:
    return write_dataset(folder, degrade(hr, 4, parameters, LocalEngine(workers)), split="train")


def gray(level: int, height: int = 200, width: int = 300) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


# -- whole datasets --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_degraded_images_are_aligned_one_to_one(tmp_path: Path, scale: int) -> None:
    hr = write_hr(tmp_path / "hr", list(range(148)))
    written = write_dataset(tmp_path / "lr", degrade(hr, scale), split="train")
    pairs = ImagePairs(hr, ShardedImages(tmp_path / "lr"))
    assert pairs.scale == scale
    assert written.details["kernel"].startswith("bicubic")
    assert pairs.lr.names == tuple(f"{number}.png" for number in range(148))
    for index in range(148):
        original: NDArray[np.uint8] = np.array(hr[index])
        np.testing.assert_array_equal(pairs.lr[index], downscale(original[None], scale)[0])


def test_no_lr_is_made_of_damaged_hr(tmp_path: Path) -> None:
    """It would be kept when HR is repaired, as the repaired shard has the hash of the manifest."""
    hr = write_hr(tmp_path / "hr", list(range(60)))
    shard = tmp_path / "hr/shard-00000.npy"
    intact = shard.read_bytes()
    shard.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    with pytest.raises(UserError, match=r"hr/shard-00000.npy is damaged\. Run kedro run"):
        write_lr(tmp_path / "lr", hr, None)
    assert not (tmp_path / "lr/shard-00000.npy").exists()
    shard.write_bytes(intact)
    write_lr(tmp_path / "lr", hr, None)
    lr = ShardedImages(tmp_path / "lr")
    np.testing.assert_array_equal(lr[49], downscale(hr[49][None], 4)[0])


def test_a_scale_that_does_not_divide_the_images_is_refused(tmp_path: Path) -> None:
    hr = write_hr(tmp_path / "hr", [0])
    with pytest.raises(ValueError, match="48x40 pixels cannot be shrunk 3 times"):
        write_dataset(tmp_path / "lr", degrade(hr, 3), split="train")
    assert not (tmp_path / "lr" / "manifest.json").exists()


def test_images_are_the_same_for_any_number_of_workers_and_any_order(
    tmp_path: Path, parameters: RealisticParameters
) -> None:
    seeds = list(range(120))
    hr = write_hr(tmp_path / "hr", seeds)
    one = write_lr(tmp_path / "one", hr, parameters, workers=1)
    many = write_lr(tmp_path / "many", hr, parameters, workers=5)
    assert one == many
    tables = [(tmp_path / name / "degradations.csv").read_bytes() for name in ("one", "many")]
    assert tables[0] == tables[1]
    backwards = write_hr(tmp_path / "back", seeds[::-1])
    write_lr(tmp_path / "lr_back", backwards, parameters)
    for index in range(120):
        np.testing.assert_array_equal(
            ShardedImages(tmp_path / "one")[index], ShardedImages(tmp_path / "lr_back")[119 - index]
        )


def test_another_seed_gives_other_images(tmp_path: Path, parameters: RealisticParameters) -> None:
    hr = write_hr(tmp_path / "hr", list(range(20)))
    other = parameters.model_copy(update={"seed": 1})
    digests = {write_lr(tmp_path / "lr", hr, each).digest for each in (None, parameters, other)}
    assert len(digests) == 3


def test_the_manifest_and_the_table_hold_the_degradations(
    tmp_path: Path, parameters: RealisticParameters
) -> None:
    hr = write_hr(tmp_path / "hr", list(range(100)))
    manifest = write_lr(tmp_path / "lr", hr, parameters)
    assert manifest.details["kind"] == "realistic"
    assert manifest.details["kernel"].startswith("realistic")
    assert RealisticParameters.model_validate(manifest.details["realistic"]) == parameters
    text = (tmp_path / "lr" / "degradations.csv").read_text()
    rows = list(csv.DictReader(StringIO(text)))
    assert [row["name"] for row in rows] == list(hr.names)
    lr = ShardedImages(tmp_path / "lr")
    clean = [index for index, row in enumerate(rows) if row["clean"] == "True"]
    assert 5 <= len(clean) <= 30
    for index in clean:
        np.testing.assert_array_equal(lr[index], downscale(np.array(hr[index])[None], 4)[0])
        assert set(rows[index].values()) == {hr.names[index], "True", "bicubic", ""}
    for index, row in enumerate(rows):
        _, drawn = degrade_realistically(np.array(hr[index]), parameters, 4)
        assert row["shrink"] == drawn.shrink
        assert row["jpeg_quality"] == str(drawn.jpeg_quality or "")


def test_bicubic_images_have_no_table_and_a_short_manifest(
    tmp_path: Path, parameters: RealisticParameters
) -> None:
    hr = write_hr(tmp_path / "hr", list(range(3)))
    write_lr(tmp_path / "lr", hr, parameters)
    manifest = write_lr(tmp_path / "lr", hr, None)
    assert manifest.details == {"source": hr.manifest.digest, "scale": 4, "kernel": KERNEL}
    assert list(manifest.details) == ["source", "scale", "kernel"]
    assert not (tmp_path / "lr" / "degradations.csv").exists()


# -- single steps ----------------------------------------------------------------------------------


def test_area_is_the_mean_of_squares_with_halves_up() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[0, 1, 2]] * 2, [[1, 1, 255]] * 2]
    image[2:, 2:] = 255
    expected = [[[1, 1, 129], [0, 0, 0]], [[0, 0, 0], [255, 255, 255]]]
    np.testing.assert_array_equal(shrink_image(image, "area", 2), expected)


def test_a_mosaic_has_cells_of_one_colour_and_cuts_the_last_ones() -> None:
    values = np.array([[0, 1, 10, 10, 7], [2, 3, 20, 21, 8], [4, 4, 6, 7, 100]], np.uint8)
    expected = [[2, 2, 15, 15, 8], [2, 2, 15, 15, 8], [4, 4, 7, 7, 100]]
    made = mosaic(np.repeat(values[:, :, None], 3, axis=2), 2)
    for channel in range(3):
        np.testing.assert_array_equal(made[:, :, channel], expected)


@pytest.mark.parametrize("color", ["420", "444"])
def test_jpeg_is_that_of_the_library(color: str) -> None:
    image = picture(3)
    encoded = simplejpeg.encode_jpeg(image, quality=40, colorspace="RGB", colorsubsampling=color)
    expected = simplejpeg.decode_jpeg(encoded, colorspace="RGB")
    np.testing.assert_array_equal(compress_jpeg(image, 40, color), expected)
    degraded = apply_degradation(
        Degradation(jpeg_quality=40, jpeg_color="444", jpeg_quality_again=80),
        picture(3, 192, 160),
        4,
        np.random.default_rng(0),
    )
    once = compress_jpeg(downscale(picture(3, 192, 160)[None], 4)[0], 40, "444")
    np.testing.assert_array_equal(degraded, compress_jpeg(once, 80, "444"))


def test_convolution_is_that_of_the_definition() -> None:
    image = picture(1)
    kernel = blur_kernel(
        Degradation(blur="anisotropic", blur_sigma=2, blur_sigma_across=0.7, blur_angle=0.5)
    )
    radius = len(kernel) // 2
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(0, 1))
    expected = np.einsum("hwcij,ij->hwc", windows, kernel)
    assert np.abs(convolve(image, kernel) - expected).max() < 0.501


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2, 3.0])
def test_kernels_are_centred_and_have_the_given_width(angle: float) -> None:
    gaussian = Degradation(blur_sigma=2.5, blur_sigma_across=1.2, blur_angle=angle)
    line = Degradation(blur_length=9.0, blur_angle=angle)
    for drawn, along in ((gaussian, 2.5), (line, 9 / 12**0.5)):
        kernel = blur_kernel(drawn)
        assert kernel.sum() == pytest.approx(1)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)
        y, x = np.indices(kernel.shape) - len(kernel) // 2
        spread = (kernel * (x * np.cos(angle) + y * np.sin(angle)) ** 2).sum() ** 0.5
        assert spread == pytest.approx(along, rel=0.06)


def test_a_blur_of_next_to_nothing_changes_nothing() -> None:
    kernel = blur_kernel(Degradation(blur="isotropic", blur_sigma=0.2))
    np.testing.assert_array_equal(convolve(picture(0), kernel), picture(0))


@pytest.mark.parametrize("same", [True, False])
def test_noise_has_the_given_strength(same: bool) -> None:
    random = np.random.default_rng(5)
    for level in (60, 160):
        for kind, strength, expected in (
            ("gaussian", 8.0, 8.0),
            ("poisson", 0.5, 0.5 * level**0.5),
        ):
            drawn = Degradation(noise=kind, noise_strength=strength, noise_gray=same)
            noise = add_noise(gray(level), drawn, random) - float(level)
            assert noise.std() == pytest.approx(expected, rel=0.03)
            assert abs(noise.mean()) < 0.1
            assert (noise[..., 0] == noise[..., 1]).all() == same


@pytest.mark.parametrize(
    "degradation",
    [
        Degradation(),
        Degradation(shrink="area"),
        Degradation(shrink="bilinear"),
        *(Degradation(shrink="mosaic", mosaic_cell=cell) for cell in (2, 3, 4)),
        Degradation(blur="isotropic", blur_sigma=3),
        Degradation(blur="anisotropic", blur_sigma=3, blur_sigma_across=0.5, blur_angle=0.6),
        Degradation(blur="motion", blur_length=13, blur_angle=2.5),
        Degradation(noise="gaussian", noise_strength=15),
        Degradation(noise="poisson", noise_strength=1, noise_gray=True),
        Degradation(jpeg_quality=30, jpeg_color="420"),
        Degradation(jpeg_quality=30, jpeg_color="444", jpeg_quality_again=50),
        Degradation(enlarged_from=0.7),
        Degradation(enlarged_from=0.37, jpeg_quality=50),
    ],
)
def test_nothing_moves_and_no_colour_drifts(degradation: Degradation) -> None:
    """Enlarged again, LR lies on average within a tenth of a pixel of the original."""
    photograph = (48 + astronaut() * 0.625).astype(np.uint8)  # no value clips
    crops = [photograph[y : y + 216, x : x + 176] for y in (0, 100, 200) for x in (50, 200)]
    shifts, drifts = [], []
    for image in (*crops, *(crop[::-1, ::-1] for crop in crops)):
        lr = apply_degradation(degradation, image, 4, np.random.default_rng(0))
        enlarged = upscale(lr[None], 4)[0].astype(float)
        shift, *_ = phase_cross_correlation(
            image.mean(axis=2), enlarged.mean(axis=2), upsample_factor=100, normalization=None
        )
        shifts.append(shift)
        drifts.append((enlarged - image).mean(axis=(0, 1)))
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.1
    assert np.abs(np.mean(drifts, axis=0)).max() < 0.6


def test_enlarged_images_were_smaller_when_they_were_compressed() -> None:
    """As ``enhance`` gets them: a small face from a JPEG file, enlarged by Pillow."""
    image = picture(3, 192, 160)
    degradation = Degradation(enlarged_from=0.6, jpeg_quality=40, jpeg_color="420")
    degraded = apply_degradation(degradation, image, 4, np.random.default_rng(0))
    small = Image.fromarray(downscale(image[None], 4)[0]).resize((29, 24), Image.Resampling.BICUBIC)
    stored = Image.fromarray(compress_jpeg(np.asarray(small), 40, "420"))
    enlarged = stored.resize((48, 40), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(degraded, np.asarray(enlarged))


def test_the_smallest_image_can_be_degraded_by_everything() -> None:
    steps: dict[str, Any] = {"noise": "gaussian", "noise_strength": 5.0, "jpeg_quality": 50}
    line = Degradation(blur="motion", blur_length=63, shrink="mosaic", mosaic_cell=16, **steps)
    disc = Degradation(blur="isotropic", blur_sigma=20, enlarged_from=0.1, **steps)
    for degradation in (line, disc):
        image = picture(0, 8, 8)
        lr = apply_degradation(degradation, image, 8, np.random.default_rng(0))
        assert lr.shape == (1, 1, 3)
        assert np.abs(lr[0, 0] - image.mean(axis=(0, 1))).max() < 40


def test_bilinear_shrinking_weighs_pixels_by_their_distance() -> None:
    image = np.zeros((8, 48, 3), np.uint8)
    image[:, 20:24] = 160  # the fifth of twelve LR pixels, whose triangle is eight pixels wide
    weights = np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 32
    row = shrink_image(image, "bilinear", 4)[0, :, 0]
    expected = [160 * weights[6:].sum(), 160 * weights[2:6].sum(), 160 * weights[:2].sum()]
    assert row[4:7].tolist() == [round(value) for value in expected]
    assert not row[:4].any()
    assert not row[7:].any()


# -- draws -----------------------------------------------------------------------------------------


def test_kinds_are_as_frequent_as_they_should_be(parameters: RealisticParameters) -> None:
    random = np.random.default_rng(2)
    drawn = [draw(parameters, random) for _ in range(20_000)]
    dirty = [each for each in drawn if not each.clean]
    blurred = [each for each in dirty if each.blur]
    noisy = [each for each in dirty if each.noise]
    stored = [each for each in dirty if each.jpeg_quality]
    shares = {
        len(dirty) / len(drawn): 1 - parameters.clean,
        len(blurred) / len(dirty): parameters.blur.probability,
        len(noisy) / len(dirty): parameters.noise.probability,
        len(stored) / len(dirty): parameters.jpeg.probability,
        sum(each.blur == "motion" for each in blurred) / len(blurred): 0.2,
        sum(each.shrink == "mosaic" for each in dirty) / len(dirty): parameters.shrink.mosaic,
        sum(bool(each.noise_gray) for each in noisy) / len(noisy): parameters.noise.gray,
        sum(each.jpeg_color == "444" for each in stored) / len(stored): 0.2,
        sum(each.jpeg_quality_again is not None for each in stored) / len(stored): 0.2,
    }
    for found, expected in shares.items():
        assert found == pytest.approx(expected, abs=0.015)
    qualities = {each.jpeg_quality for each in stored}
    assert (min(map(int, filter(None, qualities))), len(qualities)) == (30, 66)
    sigmas = [each.blur_sigma for each in blurred if each.blur_sigma is not None]
    assert 0.2 <= min(sigmas) < 0.22
    assert 2.98 < max(sigmas) <= 3
    cells = {each.mosaic_cell for each in dirty if each.shrink == "mosaic"}
    assert cells == {2, 3, 4}


def test_some_images_are_enlarged_and_the_others_as_without(
    parameters: RealisticParameters,
) -> None:
    enlarged = EnlargedParameters(probability=0.3, size=(0.4, 0.8))
    changed = parameters.model_copy(update={"enlarged": enlarged})
    drawn = [
        [draw(each, np.random.default_rng(seed)) for each in (parameters, changed)]
        for seed in range(4000)
    ]
    assert all(replace(new, enlarged_from=None) == old for old, new in drawn)
    sizes = [new.enlarged_from for _, new in drawn if new.enlarged_from is not None]
    assert len(sizes) / sum(not old.clean for old, _ in drawn) == pytest.approx(0.3, abs=0.03)
    assert 0.4 <= min(sizes) < 0.41
    assert 0.79 < max(sizes) <= 0.8


def test_shards_keep_their_hashes_while_nothing_is_enlarged(
    tmp_path: Path, parameters: RealisticParameters
) -> None:
    """The parameter came later: shards made before it need not be made again."""
    hr = write_hr(tmp_path / "hr", list(range(3)))
    plain = write_lr(tmp_path / "lr", hr, parameters).details
    assert "enlarged" not in plain["realistic"]
    assert "enlarging" not in plain["kernel"]
    some = EnlargedParameters(probability=0.3, size=(0.4, 0.8))
    changed = parameters.model_copy(update={"enlarged": some})
    assert "JPEG, enlarging (after" in write_lr(tmp_path / "lr", hr, changed).details["kernel"]


# -- parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("kind", "bicubicc", "degrade.kind"),
        ("realistic__clean", 1, "degrade.realistic.clean"),
        ("realistic__blur__probability", 1.2, "degrade.realistic.blur.probability"),
        ("realistic__blur__sigma", [3, 1], "lower end of a range comes first, not [3.0, 1.0]"),
        ("realistic__blur__sigma", [0, 1], "degrade.realistic.blur.sigma"),
        ("realistic__blur__length", [3], "degrade.realistic.blur.length"),
        ("realistic__jpeg__quality", [0, 50], "degrade.realistic.jpeg.quality"),
        ("realistic__jpeg__quality", [60, 50], "lower end of a range comes first, not [60, 50]"),
        ("realistic__mosaic_cell", [1, 2], "degrade.realistic.mosaic_cell"),
        ("realistic__noise__kinds", {"gaussian": 0, "poisson": 0}, "gaussian, poisson must be"),
        ("realistic__noise__kinds", {"gaussian": -1, "poisson": 2}, "noise.kinds.gaussian"),
        ("realistic__noise__gray", float("nan"), "degrade.realistic.noise.gray"),
        ("realistic__seed", -1, "degrade.realistic.seed"),
        (
            "realistic__enlarged",
            {"probability": 1, "size": [0, 1]},
            "degrade.realistic.enlarged.size",
        ),
    ],
)
def test_a_bad_value_is_named_in_one_line(
    defaults: dict[str, Any], name: str, value: object, expected: str
) -> None:
    lines = message(changed(defaults, **{f"degrade__{name}": value})).splitlines()
    assert len([line for line in lines if line.startswith("  - ")]) == len(lines) - 1
    assert expected in lines[1]
