import errno
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from deepdepixelate.errors import UserError
from deepdepixelate.photographs import FormatName
from deepdepixelate.photographs.photograph import (
    FileFormat,
    Photograph,
    read_photograph,
    save_enlarged,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
FORMATS: list[FormatName] = ["png", "jpeg", "webp"]


def exif() -> Image.Exif:
    """As of a telephone held upright: with a thumbnail's directory, whose pixels are left out."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    tags[ExifTags.Base.Make] = "Kamera"
    tags[ExifTags.Base.DateTime] = "2026:01:02 03:04:05"
    camera = {
        int(ExifTags.Base.DateTimeOriginal): "2026:01:02 03:04:05",
        int(ExifTags.Base.ExposureTime): IFDRational(1, 125),
        int(ExifTags.Base.ExifImageWidth): 16,
        int(ExifTags.Base.ExifImageHeight): 12,
    }
    tags[ExifTags.IFD.Exif] = camera
    tags[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 31.0, 12.0)}
    return tags


def photograph(path: Path, mode: str = "RGB", **settings: Any) -> Photograph:
    Image.fromarray(PIXELS).convert(mode).save(path, **settings)
    return read_photograph(path, max_pixels=10**6)


def written(original: Photograph, path: Path, form: FileFormat) -> Image.Image:
    height, width, _ = original.pixels.shape
    large = Image.fromarray(original.pixels).resize((4 * width, 4 * height))
    save_enlarged(original, original.finish(large), path, form)
    with Image.open(path) as image:
        image.load()
        return image


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("source", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_metadata_is_kept_and_the_orientation_reset(
    tmp_path: Path, source: str, form: FormatName
) -> None:
    original = photograph(tmp_path / source, exif=exif().tobytes(), dpi=(300, 200))
    image = written(original, tmp_path / "out", FileFormat(form))
    assert image.size == (48, 64)
    tags = image.getexif()
    assert ExifTags.Base.Orientation not in tags
    assert tags[ExifTags.Base.Make] == "Kamera"
    camera = tags.get_ifd(ExifTags.IFD.Exif)
    assert camera[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"
    assert camera[ExifTags.Base.ExposureTime] == pytest.approx(1 / 125)
    assert (camera[ExifTags.Base.ExifImageWidth], camera[ExifTags.Base.ExifImageHeight]) == (48, 64)
    assert tags.get_ifd(ExifTags.IFD.GPSInfo)[2] == (52.0, 31.0, 12.0)
    assert ExifTags.Base.ImageWidth not in tags
    if source != "a.webp":  # which has no place for it outside of EXIF
        assert tags[ExifTags.Base.XResolution] == pytest.approx(200, abs=0.1)
        assert tags[ExifTags.Base.YResolution] == pytest.approx(300, abs=0.1)
        if form != "webp":
            assert image.info["dpi"] == pytest.approx((200, 300), abs=0.1)


@pytest.mark.parametrize("form", FORMATS)
def test_metadata_is_left_out_where_asked(tmp_path: Path, form: FormatName) -> None:
    original = photograph(tmp_path / "a.jpg", exif=exif(), dpi=(300, 300), icc_profile=b"profile")
    image = written(original, tmp_path / "out", FileFormat(form, metadata=False))
    assert not image.getexif()
    assert "dpi" not in image.info
    assert image.info["icc_profile"] == b"profile"


def test_the_thumbnail_is_dropped(tmp_path: Path) -> None:
    content = bytearray(exif().tobytes())
    directory = len(content) - 6
    tiff = content[6:]
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    count = int.from_bytes(tiff[8:10], order)
    tiff[10 + 12 * count : 14 + 12 * count] = directory.to_bytes(4, order)
    thumbnail = b"\xff\xd8THUMBNAIL\xff\xd9"

    def entry(tag: int, kind: int, value: int) -> bytes:
        return b"".join(n.to_bytes(s, order) for n, s in ((tag, 2), (kind, 2), (1, 4), (value, 4)))

    after = directory + 2 + 3 * 12 + 4
    tiff += (3).to_bytes(2, order) + entry(259, 4, 6) + entry(513, 4, after)
    tiff += entry(514, 4, len(thumbnail)) + bytes(4) + thumbnail
    original = photograph(tmp_path / "a.jpg", exif=b"Exif\0\0" + bytes(tiff))
    with Image.open(tmp_path / "a.jpg") as image:
        assert 513 in image.getexif().get_ifd(ExifTags.IFD.IFD1)
    written(original, tmp_path / "out.png", FileFormat())
    assert b"THUMBNAIL" not in (tmp_path / "out.png").read_bytes()


def test_letters_beyond_ascii_are_kept(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "Jürgen".encode()
    original = photograph(tmp_path / "a.jpg", exif=tags)
    image = written(original, tmp_path / "out.png", FileFormat())
    assert image.getexif()[ExifTags.Base.Artist].encode("latin-1").decode() == "Jürgen"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("content", [b"Exif\0\0II*\0\xff\xff\xff\0", b"Exif\0\0junk of any kind"])
def test_damaged_metadata_does_not_stop_the_pixels(tmp_path: Path, content: bytes) -> None:
    original = photograph(tmp_path / "a.jpg", exif=content)
    assert original.pixels.shape == (12, 16, 3)
    assert original.metadata.tags == {}


def test_quality_is_of_jpeg_and_webp(tmp_path: Path) -> None:
    original = photograph(tmp_path / "a.png")
    for form in ("jpeg", "webp"):
        sizes = []
        for quality in (20, 95):
            written(original, tmp_path / "out", FileFormat(form, quality))
            sizes.append((tmp_path / "out").stat().st_size)
        assert sizes[0] < sizes[1] / 1.5


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_laid_over_white_in_jpeg(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    image.save(tmp_path / "a.png")
    original = read_photograph(tmp_path / "a.png", max_pixels=100)
    finished = original.finish(Image.new("RGB", (32, 32)))
    notes = save_enlarged(original, finished, tmp_path / "a.jpg", FileFormat("jpeg"))
    assert "laid over white" in notes[0]
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.mode == ("L" if mode == "LA" else "RGB")
        assert saved.convert("L").getextrema() == (255, 255)


def test_a_gray_profile_does_not_reach_colours(tmp_path: Path) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"GRAY"
    original = photograph(tmp_path / "a.png", "L", icc_profile=bytes(profile))
    assert "icc_profile" in written(original, tmp_path / "out.png", FileFormat()).info
    assert "icc_profile" not in written(original, tmp_path / "out.webp", FileFormat("webp")).info


def test_an_image_too_large_for_the_format_is_an_error(tmp_path: Path) -> None:
    original = photograph(tmp_path / "a.png")
    wide = Image.new("RGB", (16384, 4))
    with pytest.raises(UserError, match="cannot be written as webp"):
        save_enlarged(original, wide, tmp_path / "a.webp", FileFormat("webp"))
    wide = Image.new("RGB", (65536, 4))
    with pytest.raises(UserError, match="cannot be written"):
        save_enlarged(original, wide, tmp_path / "a.jpg", FileFormat("jpeg"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_full_disk_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    original = photograph(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(UserError, match=r"No space left on device; free disk space, and run the"):
        save_enlarged(original, Image.new("RGB", (4, 4)), tmp_path / "b.png", FileFormat())
