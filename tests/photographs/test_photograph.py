import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from deepdepixelate.photographs import UnreadableImageError
from deepdepixelate.photographs.photograph import Photograph, read_photograph

MANY = 10**6


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def read(file: io.BytesIO, max_pixels: int = MANY) -> Photograph:
    return read_photograph(file, max_pixels=max_pixels)


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def png_chunks(header: bytes, data: bytes) -> io.BytesIO:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunks)


def deep_png(values: NDArray[np.uint16]) -> io.BytesIO:
    """A PNG of 16 bits a channel in colour, which Pillow cannot write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png_chunks(struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), zlib.compress(rows))


class TestWhatIsKept:
    def test_rgb(self, pixels: NDArray[np.uint8]) -> None:
        photograph = read(encoded(Image.fromarray(pixels)))
        np.testing.assert_array_equal(photograph.pixels, pixels)
        assert (photograph.alpha, photograph.gray, photograph.icc_profile) == (None, False, None)
        assert photograph.notes == ()

    @pytest.mark.parametrize("mode", ["L", "1"])
    def test_gray(self, pixels: NDArray[np.uint8], mode: str) -> None:
        image = Image.fromarray(pixels).convert(mode)
        photograph = read(encoded(image))
        assert photograph.gray
        assert photograph.alpha is None
        expected = np.asarray(image.convert("L"))
        for channel in range(3):
            np.testing.assert_array_equal(photograph.pixels[..., channel], expected)

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_alpha(self, pixels: NDArray[np.uint8], mode: str) -> None:
        image = Image.fromarray(pixels).convert(mode)
        alpha = Image.fromarray(pixels[..., 0])
        image.putalpha(alpha)
        photograph = read(encoded(image))
        assert photograph.alpha is not None
        np.testing.assert_array_equal(np.asarray(photograph.alpha), pixels[..., 0])
        seen = pixels[..., 0] > 0
        colours = np.asarray(image.convert("RGBA"))[..., :3]
        np.testing.assert_array_equal(photograph.pixels[seen], colours[seen])
        assert photograph.gray is (mode == "LA")

    def test_transparent_palette(self, pixels: NDArray[np.uint8]) -> None:
        image = Image.fromarray(pixels).quantize(16)
        photograph = read(encoded(image, transparency=0))
        assert photograph.alpha is not None
        expected = np.where(np.asarray(image) == 0, 0, 255)
        np.testing.assert_array_equal(np.asarray(photograph.alpha), expected)

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_colours_at_the_edge_reach_under_what_is_transparent(self, mode: str) -> None:
        image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
        image.paste((250, 250, 250, 255), (6, 6, 14, 14))
        photograph = read(encoded(image.convert(mode)))
        assert (photograph.pixels >= 249).all()
        assert photograph.alpha is not None
        assert photograph.alpha.getextrema() == (0, 255)

    def test_what_is_all_transparent(self) -> None:
        photograph = read(encoded(Image.new("RGBA", (5, 5), (9, 9, 9, 0))))
        assert (photograph.pixels == 9).all()

    def test_colour_profile(self, pixels: NDArray[np.uint8]) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        image = encoded(Image.fromarray(pixels), icc_profile=profile)
        assert read(image).icc_profile == profile

    def test_orientation(self, pixels: NDArray[np.uint8]) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: rotate a quarter clockwise
        photograph = read(encoded(Image.fromarray(pixels), exif=exif))
        np.testing.assert_array_equal(photograph.pixels, np.rot90(pixels, -1))


class TestWhatIsSaid:
    def test_of_sixteen_bits_of_gray(self) -> None:
        values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
        photograph = read(encoded(Image.fromarray(values)))
        assert photograph.gray
        np.testing.assert_array_equal(photograph.pixels[..., 0], np.rint(values / 257))
        assert "16 bits" in photograph.notes[0]

    def test_of_sixteen_bits_of_colour(self) -> None:
        photograph = read(deep_png(np.full((8, 8, 3), 0x8040, np.uint16)))
        assert (photograph.pixels == 0x80).all()
        assert "16 bits" in photograph.notes[0]

    def test_of_cmyk(self) -> None:
        image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
        photograph = read(encoded(image, "JPEG"))
        red, green, blue = photograph.pixels[4, 4]
        assert red > 200 > 60 > max(green, blue)
        assert "CMYK" in photograph.notes[0]


class TestRefusal:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "not an image"),
            (b"hello", "not an image"),
            (b"\x89PNG\r\n\x1a\n", "not an image|damaged"),
        ],
        ids=["empty", "text", "a header alone"],
    )
    def test_of_what_is_no_image(self, content: bytes, reason: str) -> None:
        with pytest.raises(UnreadableImageError, match=reason):
            read(io.BytesIO(content))

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
    def test_of_a_truncated_image(self, kind: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        whole = encoded(Image.fromarray(noise), kind).getvalue()
        with pytest.raises(UnreadableImageError):
            read(io.BytesIO(whole[: len(whole) // 2]))

    @pytest.mark.parametrize("size", [(1, 1), (3, 100), (100, 3)])
    def test_of_too_few_pixels(self, size: tuple[int, int]) -> None:
        with pytest.raises(UnreadableImageError, match="too few"):
            read(encoded(Image.new("RGB", size)))

    def test_of_too_many_pixels(self) -> None:
        image = Image.new("L", (1001, 1000))
        with pytest.raises(UnreadableImageError, match=r"1001x1000 pixels: more than 1 megapixels"):
            read(encoded(image))
        read(encoded(image), max_pixels=1001 * 1000)

    def test_of_a_bomb_before_it_is_decoded(self) -> None:
        bomb = png_chunks(struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0), b"")
        with pytest.raises(UnreadableImageError, match="megapixels"):
            read(bomb)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_of_several_frames(self, kind: str, pixels: NDArray[np.uint8]) -> None:
        frames = [Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())]
        file = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        with pytest.raises(UnreadableImageError, match=r"animated or of several pages \(2\)"):
            read(file)
