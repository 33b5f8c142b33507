import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate import downscale, upscale
from deepdepixelate.errors import UserError
from deepdepixelate.evaluation.benchmarks import Benchmark, check_benchmarks
from deepdepixelate.evaluation.scoring import score
from deepdepixelate.evaluation.statistics import summarise
from deepdepixelate.metrics.identity import Identity, find_identity
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.parameters import BenchmarkFolders


def picture(height: int = 40, width: int = 48, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, image: NDArray[Any] | Image.Image, **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    opened.save(path, **settings)
    return path


def opened(
    hr: Path, lr: Path | None = None, *, scale: int = 4, border: int | None = None
) -> Benchmark:
    return Benchmark("mine", BenchmarkFolders(hr=hr, lr=lr), scale=scale, border=border)


def images_of(benchmark: Benchmark) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """HR and LR by name; checks the batches on the way."""
    images = {}
    for hr, lr in benchmark.batches(16):
        assert hr.names == lr.names
        assert hr.pixels.shape[0] == lr.pixels.shape[0] == len(hr.names) == 1
        images[hr.names[0]] = (hr.pixels[0], lr.pixels[0])
    return images


def scored(benchmark: Benchmark) -> pd.DataFrame:
    return score_by_bicubic(benchmark, border=None)


def score_by_bicubic(benchmark: Benchmark, *, border: int | None) -> pd.DataFrame:
    return score(
        {"mine": benchmark},
        {"bicubic": upscale},
        batch_size=16,
        border=border,
        st_lpips=STLPIPS(),
        identity=Identity(reason="not here"),
    ).images


def reasons(benchmark: Benchmark) -> dict[str, str]:
    images_of(benchmark)
    return {each["image"]: each["reason"] for each in benchmark.skipped}


# -- the field's benchmarks ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "psnr", "ssim"), [("set5", 5, 28.43, 0.8113), ("set14", 14, 26.09, 0.7049)]
)
def test_bicubic_scores_what_the_field_knows(
    shared: Path, name: str, count: int, psnr: float, ssim: float
) -> None:
    folder = shared / "benchmarks" / name
    made, given = opened(folder), opened(folder / "HR", folder / "LRx4")
    assert len(made) == len(given) == count
    scores = scored(made)
    figures = summarise(scores, 4)["mine"]["models"]["bicubic"]
    assert round(figures["psnr_y"], 2) == psnr
    assert round(figures["ssim_y"], 4) == ssim
    found, expected = images_of(made), images_of(given)
    assert list(found) == list(expected) == list(scores["image"])
    for image, pair in expected.items():
        for side, other in zip(pair, found[image], strict=True):
            np.testing.assert_array_equal(side, other, err_msg=image)
    assert made.skipped == given.skipped == []


# -- folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["", "HR"])
def test_a_folder_or_one_that_holds_hr_is_taken(tmp_path: Path, inner: str) -> None:
    save(tmp_path / inner / "b.png", picture(seed=1))
    save(tmp_path / inner / "a.bmp", picture(seed=2))
    save(tmp_path / "LRx4" / "b.png", picture(10, 12))
    images = images_of(opened(tmp_path))
    assert list(images) == ["a.bmp", "b.png"]
    np.testing.assert_array_equal(images["b.png"][0], picture(seed=1))
    np.testing.assert_array_equal(images["b.png"][1], downscale(picture(seed=1)[None], 4)[0])


def test_what_systems_leave_behind_is_no_image(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture())
    for name in ("._a.png", ".hidden.jpg", "Thumbs.db", "readme.txt"):
        (tmp_path / name).write_bytes(b"not an image")
    (tmp_path / "x.png").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    benchmark = opened(tmp_path)
    assert len(benchmark) == 1
    assert list(images_of(benchmark)) == ["a.png"]
    assert benchmark.skipped == []


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine not found: .*nowhere.* evaluate\.benchmarks"):
        opened(tmp_path / "nowhere")
    file = save(tmp_path / "a.png", picture())
    with pytest.raises(UserError, match=r"a\.png is not a folder"):
        opened(file)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        opened(tmp_path, tmp_path / "nowhere")


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("later")
    (tmp_path / "x.png").mkdir()
    with pytest.raises(UserError, match=f"mine is empty: no images in {tmp_path}"):
        opened(tmp_path)
    (tmp_path / "HR").mkdir()
    save(tmp_path / "a.png", picture())
    with pytest.raises(UserError, match=f"no images in {tmp_path / 'HR'}"):
        opened(tmp_path)
    with pytest.raises(UserError, match="mine is empty"):
        opened(tmp_path / "x.png")


def test_all_benchmarks_are_looked_at_without_reading_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"damaged")
    good, bad = BenchmarkFolders(hr=tmp_path), BenchmarkFolders(hr=tmp_path / "nowhere")
    check_benchmarks({})
    check_benchmarks({"one": good})
    with pytest.raises(UserError, match="benchmark two not found"):
        check_benchmarks({"one": good, "two": bad})
    with pytest.raises(UserError, match="benchmark two not found"):
        check_benchmarks({"two": BenchmarkFolders(hr=tmp_path, lr=tmp_path / "nowhere")})


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("rest", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_hr_is_cropped_at_the_right_and_the_bottom(
    tmp_path: Path, scale: int, rest: tuple[int, int]
) -> None:
    hr = picture(5 * 8 + rest[0], 6 * 8 + rest[1])
    save(tmp_path / "a.png", hr)
    ((cropped, lr),) = images_of(opened(tmp_path, scale=scale)).values()
    np.testing.assert_array_equal(cropped, hr[:40, :48])
    np.testing.assert_array_equal(lr, downscale(hr[None, :40, :48], scale)[0])


@pytest.mark.parametrize(("border", "side"), [(None, 19), (4, 19), (0, 11), (1, 13)])
def test_images_are_scored_down_to_the_window_of_ssim(
    tmp_path: Path, border: int | None, side: int
) -> None:
    smallest = -(-side // 4) * 4  # what is left of a multiple of the scale
    save(tmp_path / "fits.png", picture(smallest, 64))
    save(tmp_path / "flat.png", picture(smallest - 1, 64))
    save(tmp_path / "thin.png", picture(64, smallest - 1))
    save(tmp_path / "dot.png", picture(1, 1))
    benchmark = opened(tmp_path, border=border)
    scores = score_by_bicubic(benchmark, border=border)
    assert list(scores["image"]) == ["fits.png"]
    assert np.isfinite(scores["ssim_y"]).all()
    assert [each["image"] for each in benchmark.skipped] == ["dot.png", "flat.png", "thin.png"]
    for each in benchmark.skipped:
        assert f"{side}x{side}" in each["reason"]
    assert f"64x{smallest - 1} pixels are too few" in benchmark.skipped[1]["reason"]


# -- LR that is given ------------------------------------------------------------------------------


@pytest.mark.parametrize("lr_name", ["a.png", "ax4.png", "a.bmp", "ax4.BMP"])
def test_given_lr_is_found_by_name(tmp_path: Path, lr_name: str) -> None:
    save(tmp_path / "hr" / "a.png", picture())
    lr = picture(10, 12, seed=5)
    save(tmp_path / "lr" / lr_name, lr)
    save(tmp_path / "lr" / "b.png", picture(10, 12, seed=6))
    ((_, found),) = images_of(opened(tmp_path / "hr", tmp_path / "lr")).values()
    np.testing.assert_array_equal(found, lr)


def test_given_lr_is_that_of_the_cropped_original(tmp_path: Path) -> None:
    save(tmp_path / "hr" / "a.png", picture(43, 51))
    lr = picture(10, 12, seed=5)
    save(tmp_path / "lr" / "a.png", lr)
    ((hr, found),) = images_of(opened(tmp_path / "hr", tmp_path / "lr")).values()
    assert hr.shape == (40, 48, 3)
    np.testing.assert_array_equal(found, lr)


def test_lr_that_does_not_belong_is_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    for name in ("alone", "broken", "good", "other-scale", "turned"):
        save(tmp_path / "hr" / f"{name}.png", picture())
    save(tmp_path / "lr" / "good.png", picture(10, 12))
    save(tmp_path / "lr" / "turned.png", picture(12, 10))
    save(tmp_path / "lr" / "other-scalex2.png", picture(20, 24))
    (tmp_path / "lr" / "broken.png").write_bytes(b"no image")
    benchmark = opened(tmp_path / "hr", tmp_path / "lr")
    assert list(images_of(benchmark)) == ["good.png"]
    told = {each["image"]: each["reason"] for each in benchmark.skipped}
    assert told["alone.png"] == told["other-scale.png"] == "it has no LR image of the same name"
    assert told["turned.png"] == "its LR image is 10x12 pixels, not 12x10"
    assert "LR" in told["broken.png"]
    assert "not an image" in told["broken.png"]


# -- files of all kinds ----------------------------------------------------------------------------


def test_every_kind_of_image_is_scored_as_rgb(tmp_path: Path) -> None:
    gray = picture()[:, :, 0]
    save(tmp_path / "gray.png", gray)
    save(tmp_path / "deep.png", gray.astype(np.uint16) * 257)
    save(tmp_path / "palette.png", Image.fromarray(gray).convert("P"))
    save(tmp_path / "opaque.png", np.dstack([np.repeat(gray[:, :, None], 3, 2), gray | 255]))
    save(tmp_path / "bits.png", gray > 127)
    save(tmp_path / "print.jpg", Image.fromarray(picture()).convert("CMYK"))
    benchmark = opened(tmp_path)
    images = images_of(benchmark)
    assert benchmark.skipped == []
    for name in ("deep.png", "palette.png", "opaque.png"):
        for side in (0, 1):
            np.testing.assert_array_equal(images[name][side], images["gray.png"][side])
    assert {hr.shape for hr, _ in images.values()} == {(40, 48, 3)}
    scores = scored(opened(tmp_path)).set_index("image")
    assert len(scores) == 6
    assert scores["psnr_y"]["deep.png"] == scores["psnr_y"]["gray.png"]


def test_what_cannot_be_read_rightly_is_not_scored(tmp_path: Path) -> None:
    gray = picture()[:, :, 0]
    save(tmp_path / "good.png", picture())
    save(tmp_path / "floats.tif", gray.astype(np.float32) / 255)
    save(tmp_path / "wide.tif", gray.astype(np.int32))
    save(tmp_path / "twelve.png", gray.astype(np.uint16) * 16)
    benchmark = opened(tmp_path)
    assert list(scored(benchmark)["image"]) == ["good.png"]
    told = {each["image"]: each["reason"] for each in benchmark.skipped}
    assert list(told) == ["floats.tif", "twelve.png", "wide.tif"]
    assert "does not say which of its values" in told["floats.tif"]
    assert "12 bits or fewer" in told["twelve.png"]


def test_a_photograph_is_turned_before_it_is_cropped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.png", picture(41, 50), exif=exif)
    ((hr, _),) = images_of(opened(tmp_path)).values()
    np.testing.assert_array_equal(hr, np.rot90(picture(41, 50), -1)[:48, :40])


def test_what_cannot_be_read_is_named_and_the_rest_is_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "good.png", picture())
    for name in ("cut.png", "cut.jpg"):
        path = save(tmp_path / name, picture())
        path.write_bytes(path.read_bytes()[:500])
    (tmp_path / "text.png").write_text("Dear reader,\n")
    (tmp_path / "nothing.png").write_bytes(b"")
    save(tmp_path / "huge.png", np.zeros((100, 200, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_000)
    benchmark = opened(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert list(images_of(benchmark)) == ["good.png"]
    told = {each["image"]: each["reason"] for each in benchmark.skipped}
    assert list(told) == ["cut.jpg", "cut.png", "huge.png", "nothing.png", "text.png"]
    assert "damaged" in told["cut.png"]
    assert "damaged" in told["cut.jpg"]
    assert "too many pixels" in told["huge.png"]
    assert "not an image" in told["nothing.png"]
    assert "not an image" in told["text.png"]
    for name, reason in told.items():
        assert f"mine: {name} is skipped: {reason}" in caplog.text


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture())
    gone = save(tmp_path / "b.png", picture())
    benchmark = opened(tmp_path)
    gone.unlink()
    assert "No such file" in reasons(benchmark)["b.png"]


def test_a_benchmark_without_a_usable_image_is_an_error(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(UserError, match="none of the 2 images of mine can be scored"):
        scored(opened(tmp_path))


def test_gray_transparent_and_tiny_images_are_measured_as_far_as_the_networks_go(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    for name, shape in (("gray", (40, 44)), ("rgba", (40, 44, 4)), ("tiny", (20, 23, 3))):
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    scores = score(
        {"mine": opened(tmp_path)},
        {"bicubic": upscale},
        batch_size=16,
        border=None,
        st_lpips=STLPIPS(),
        identity=find_identity("auto"),
    ).images
    assert list(scores["image"]) == ["gray.png", "rgba.png", "tiny.png"]
    assert scores["psnr_y"].notna().all()
    assert scores["st_lpips"].isna().tolist() == [False, False, True]
    entry = summarise(scores, 4)["mine"]
    assert entry["not_available"]["st_lpips"] == 1
    assert entry["models"]["bicubic"]["identity_distance"] is None  # noise shows nobody
    json.dumps(entry, allow_nan=False)
