from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from deepdepixelate.photographs.planning import (
    Header,
    announcements,
    compression_note,
    generator_for,
    jpeg_quality,
    read_header,
)


def announce(
    *headers: Header, seconds: float = 0.0, model: str = "srgan", whole: bool = True
) -> list[str]:
    def seconds_for(sizes: Sequence[tuple[int, int]]) -> float:
        assert list(sizes) == [(header.width, header.height) for header in headers]
        return seconds

    return announcements(headers, 4, "CPU", seconds_for, model=model, form="png", whole=whole)


def named(name: str, width: int, height: int, quality: int | None = None) -> Header:
    return Header(Path("in") / name, width, height, quality)


def compressed(quality: int, mode: str = "RGB") -> BytesIO:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=quality)
    return file


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_quality_of_a_jpeg_file_is_found(mode: str) -> None:
    for quality in (5, 10, 25, 49, 50, 60, 75, 84, 85, 95, 100):
        with Image.open(compressed(quality, mode)) as image:
            assert jpeg_quality(image) == quality


def test_other_formats_have_no_quality() -> None:
    assert jpeg_quality(Image.new("RGB", (8, 8))) is None


@pytest.mark.parametrize(("quality", "warned"), [(84, True), (85, False), (None, False)])
def test_low_quality_gets_a_warning(quality: int | None, warned: bool) -> None:
    assert bool(compression_note(quality)) is warned


def test_headers_give_the_upright_size_and_leave_out_what_cannot_be_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif, quality=60)
    Image.new("RGB", (40, 30)).save(tmp_path / "plain.png")
    Image.new("RGB", (400, 300)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.webp").write_bytes(b"RIFF\x10\0\0\0WEBPVP8X")
    turned, plain, large = (tmp_path / name for name in ("turned.jpg", "plain.png", "large.png"))
    assert read_header(turned) == Header(turned, 30, 40, 60, lossy=True)
    assert read_header(plain) == Header(plain, 40, 30, None)
    assert read_header(large) == Header(large, 400, 300, None)
    for name in ("text.png", "cut.webp", "missing", "."):
        assert read_header(tmp_path / name) is None


SAVED: dict[str, tuple[dict[str, Any], bool]] = {
    "a.jpg": ({}, True),
    "a.png": ({}, False),
    "a.bmp": ({}, False),
    "lossy.webp": ({}, True),
    "alpha.webp": ({"exif": b"Exif"}, True),
    "lossless.webp": ({"lossless": True}, False),
    "lossless-extended.webp": ({"lossless": True, "exif": b"Exif"}, False),
    "a.tif": ({}, False),
    "deflate.tif": ({"compression": "tiff_adobe_deflate"}, False),
    "jpeg.tif": ({"compression": "jpeg"}, True),
    "reversible.jp2": ({}, False),
    "irreversible.jp2": ({"irreversible": True}, True),
    "irreversible.j2k": ({"irreversible": True}, True),
    "a.avif": ({}, True),
    "a.gif": ({}, True),
    "palette.png": ({}, True),
}


@pytest.mark.parametrize("name", SAVED)
def test_lossy_files_get_the_generator_for_photographs(tmp_path: Path, name: str) -> None:
    settings, lossy = SAVED[name]
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if name == "alpha.webp":
        image.putalpha(Image.linear_gradient("L").resize((16, 16)))
    if name == "palette.png":
        image = image.quantize(8)
    try:
        image.save(tmp_path / name, **settings)
    except (KeyError, OSError) as error:
        pytest.skip(f"this Pillow cannot write it: {error}")
    assert generator_for(read_header(tmp_path / name)) == ("photo" if lossy else "srgan")


def test_what_cannot_be_read_gets_a_generator_too() -> None:
    assert generator_for(None) == "srgan"


def test_nothing_is_announced_for_a_small_photograph() -> None:
    assert announce(named("a.png", 178, 218)) == []
    assert announce(named("a.png", 1000, 1000), seconds=3) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(16, "20 seconds"), (84, "80 seconds"), (95, "2 minutes"), (1300, "22 minutes"),
     (5400, "1.5 hours"), (90_000, "25 hours")],
)  # fmt: skip
def test_size_and_time_are_announced_before_long_work(seconds: float, text: str) -> None:
    (message,) = announce(named("a.png", 1000, 800), named("b.png", 1000, 800), seconds=seconds)
    assert message == f"2 photographs, 1000x800 → 4000x3200: about {text} on this CPU."


def test_photographs_of_different_sizes_are_added_up() -> None:
    (message,) = announce(named("a.png", 1000, 800), named("b.png", 800, 500), seconds=60)
    assert "2 photographs, 1.2 → 19.2 megapixels in all: about 60 seconds" in message


def test_very_large_results_are_pointed_out() -> None:
    assert announce(named("a.png", 2500, 2500)) == []
    (message,) = announce(named("a.png", 4000, 3000))
    assert message.startswith("a.png becomes 16000x12000 (192 megapixels, about 300 MB): many")
    assert "--face-files" in message
    (message,) = announce(named("a.png", 4000, 3000), named("b.png", 2600, 2500))
    assert message.startswith("2 photographs become very large, up to 16000x12000 (192")
    assert announce(named("a.png", 4000, 3000), seconds=60, whole=False) == []


def test_compressed_photographs_give_one_warning() -> None:
    (message,) = announce(named("holiday.jpg", 20, 20, 60), named("good.jpg", 20, 20, 90))
    assert message == (
        "holiday.jpg is compressed (JPEG quality about 60): blocks and noise will be enlarged too; "
        "the model photo removes them."
    )
    (message,) = announce(*(named("a.jpg", 20, 20, quality) for quality in (70, 40, 80, 95)))
    assert message.startswith("3 photographs are compressed (JPEG quality down to 40): blocks")
    assert announce(named("holiday.jpg", 20, 20, 60), model="photo") == []


def test_the_generators_that_are_chosen_by_the_file_are_announced_in_one_line() -> None:
    lossy, lossless = Header(Path("a.jpg"), 20, 20, 60, lossy=True), named("b.png", 20, 20)
    assert announce(lossy, model="auto") == [
        "Generator: photo for 1 file with lossy compression (such as JPEG). --model chooses "
        "another."
    ]
    assert announce(lossy, lossless, lossless, model="auto") == [
        "Generator: photo for 1 file with lossy compression (such as JPEG), srgan for 2 files "
        "without (such as PNG). --model chooses another."
    ]
    assert announce(model="auto") == []
