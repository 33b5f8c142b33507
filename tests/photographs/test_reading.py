import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features
from small_faces import encode, jpeg, picture

from deepdepixelate.photographs import UnreadableImageError, reading
from deepdepixelate.photographs.reading import image_files, read_rgb

ORIENTATION = 0x0112
FORMATS = ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF"]
if features.check("avif"):
    FORMATS.append("AVIF")


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def png(header: bytes, rows: bytes, *others: tuple[bytes, bytes]) -> bytes:
    chunks = ((b"IHDR", header), *others, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def deep_png(samples: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel, (H, W, 3), which Pillow reads and does not write."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), rows)


def gray_of(path: Path) -> NDArray[np.uint8]:
    """The one channel of an image that has to be gray."""
    image = read_rgb(path)
    assert (image == image[:, :, :1]).all()
    channel: NDArray[np.uint8] = image[:, :, 0]
    return channel


# -- modes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"], ids=lambda kind: str(kind).lower()
)
def test_colours_come_as_they_were_saved(tmp_path: Path, kind: str) -> None:
    settings = {"lossless": True} if kind == "WEBP" else {}
    path = saved(tmp_path / "image.png", encode(picture(0), kind, **settings))  # by its content
    image = read_rgb(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, picture(0))


def test_a_jpeg_is_what_pillow_makes_of_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.jpg", jpeg(0))
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_rgb(path), np.asarray(image))


def test_gray_becomes_three_equal_channels(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(gray_of(saved(tmp_path / "a.png", encode(levels, "PNG"))), levels)


def test_black_and_white_is_0_and_255(tmp_path: Path) -> None:
    bits = np.eye(9, dtype=bool)
    path = saved(tmp_path / "a.png", encode(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(gray_of(path), bits * np.uint8(255))


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    indexed = Image.fromarray(picture(0)).quantize(16)
    path = saved(tmp_path / "a.png", encode(indexed, "PNG"))
    np.testing.assert_array_equal(read_rgb(path), np.asarray(indexed.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_of_gray_are_rounded_to_8(tmp_path: Path, kind: str) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    exact = saved(tmp_path / "exact", encode(Image.fromarray(levels), kind))
    np.testing.assert_array_equal(gray_of(exact), levels // 257)

    between = np.array([[0, 128, 129, 385, 386, 65406, 65407, 65535]], dtype=np.uint16)
    rounded = saved(tmp_path / "rounded", encode(Image.fromarray(between), kind))
    np.testing.assert_array_equal(gray_of(rounded), [[0, 0, 1, 1, 2, 254, 255, 255]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_that_may_hold_fewer_are_refused(tmp_path: Path, kind: str) -> None:
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    path = saved(tmp_path / "a", encode(Image.fromarray(levels), kind))
    with pytest.raises(UnreadableImageError, match="highest value is 4095 of 65535"):
        read_rgb(path)
    colour = saved(tmp_path / "b", deep_png(np.dstack([levels] * 3)))
    with pytest.raises(UnreadableImageError, match="highest value is 15 of 255"):
        read_rgb(colour)
    black = np.zeros((8, 8), np.uint16)  # at any depth
    np.testing.assert_array_equal(
        gray_of(saved(tmp_path / "c", encode(Image.fromarray(black), kind))), 0
    )


@pytest.mark.parametrize("highest", [4095, 3000])  # it is the highest that is used
def test_the_bits_that_a_tiff_states_are_taken(tmp_path: Path, highest: int) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65
    content = encode(Image.fromarray(levels), "TIFF", tiffinfo={281: highest})
    image = gray_of(saved(tmp_path / "a.tif", content))
    np.testing.assert_array_equal(image, np.rint(levels * (255 / 4095)))


def test_the_bits_of_a_tiff_in_colour_are_not_guessed(tmp_path: Path) -> None:
    header = struct.pack("<2sHI", b"II", 42, 8)
    entries = [
        (256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 500), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 600), (277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, 384), (281, 3, 3, 510),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    content = (header + directory).ljust(500, b"\0") + struct.pack("<3H", 16, 16, 16)
    content = content.ljust(510, b"\0") + struct.pack("<3H", *[4095] * 3)
    content = content.ljust(600, b"\0") + np.full(192, 40000, "<u2").tobytes()
    with pytest.raises(UnreadableImageError, match="12 bits in 16"):
        read_rgb(saved(tmp_path / "a.tif", content))


def test_gray_of_16_bits_of_which_0_is_white(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    content = bytearray(encode(Image.fromarray(levels), "TIFF"))
    place = content.index(struct.pack("<HHI", 262, 3, 1))
    content[place + 8] = 0
    image = gray_of(saved(tmp_path / "a.tif", bytes(content)))
    np.testing.assert_array_equal(image, 255 - levels // 257)


@pytest.mark.parametrize("maximum", [15, 255, 4095, 65535])
def test_the_maximum_of_a_pgm_is_white(tmp_path: Path, maximum: int) -> None:
    kind = ">u2" if maximum > 255 else "u1"
    values: NDArray[Any] = np.full((8, 8), maximum, kind)
    values[0] = np.round(maximum / 3)
    content = f"P5 8 8 {maximum} ".encode() + values.tobytes()
    image = gray_of(saved(tmp_path / "a.pgm", content))
    np.testing.assert_array_equal(image[:2], [[85] * 8, [255] * 8])


def test_big_endian_16_bits_are_read(tmp_path: Path) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    image = Image.frombytes("I;16B", (8, 8), levels.astype(">u2").tobytes())
    path = saved(tmp_path / "a.tif", encode(image, "TIFF"))
    np.testing.assert_array_equal(gray_of(path), np.rint(levels / 257))


def test_16_bits_of_colour_become_8(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint16)
    path = saved(tmp_path / "a.png", deep_png(levels * np.uint16(257)))
    np.testing.assert_array_equal(read_rgb(path), levels)


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_values_without_a_known_range_are_refused(tmp_path: Path, kind: str) -> None:
    values = np.linspace(0, 1 if kind == "float32" else 255, 64, dtype=kind).reshape(8, 8)
    image = Image.fromarray(values)
    with pytest.raises(UnreadableImageError, match="does not say which of its values"):
        read_rgb(saved(tmp_path / "a.tif", encode(image, "TIFF")))


def test_a_portable_float_map_is_refused(tmp_path: Path) -> None:
    content = b"Pf 8 8 -1.0\n" + np.linspace(0, 1, 64, dtype="<f4").tobytes()
    with pytest.raises(UnreadableImageError, match="does not say which of its values"):
        read_rgb(saved(tmp_path / "a.pfm", content))


def test_floats_of_a_stated_range_are_read(tmp_path: Path) -> None:
    levels = np.linspace(-64, 255, 320, dtype=np.float32).reshape(16, 20) / np.float32(255)
    content = encode(Image.fromarray(levels), "TIFF", tiffinfo={340: 0.0, 341: 1.0})
    image = gray_of(saved(tmp_path / "a.tif", content))
    np.testing.assert_array_equal(image, np.rint(levels.clip(0, 1) * 255))
    levels[0, 0] = np.nan
    content = encode(Image.fromarray(levels), "TIFF", tiffinfo={340: 0.0, 341: 1.0})
    with pytest.raises(UnreadableImageError, match="NaN"):
        read_rgb(saved(tmp_path / "b.tif", content))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for name, content in (
        ("a.jpg", encode(red, "JPEG", quality=100)),
        ("a.tif", encode(red, "TIFF")),
    ):
        expected = np.full((16, 16, 3), (255, 0, 0), np.int64)
        image = read_rgb(saved(tmp_path / name, content))
        assert np.abs(image.astype(np.int64) - expected).max() <= 1


# -- transparency ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "channels"), [(2, 1), (4, 1), (8, 1), (16, 1), (16, 3)])
def test_a_value_that_a_png_calls_transparent_is_so(
    tmp_path: Path, bits: int, channels: int
) -> None:
    header = struct.pack(">IIBBBBB", 8, 8, bits, 2 if channels == 3 else 0, 0, 0, 0)
    row = b"\0" + b"\x55" * (bits * channels)  # 8 pixels
    value = struct.pack(">H", 0x5555 & ((1 << bits) - 1)) * channels
    path = saved(tmp_path / "a.png", png(header, row * 8, (b"tRNS", value)))
    assert (gray_of(path) == 255).all()
    opaque = saved(tmp_path / "b.png", png(header, row * 8))
    assert (gray_of(opaque) == 85).all()


def test_what_is_transparent_is_laid_over_white(tmp_path: Path) -> None:
    alpha = np.array([[0, 64, 128, 255]] * 4, dtype=np.uint8)
    colour = np.full((4, 4, 3), (200, 100, 0), np.uint8)
    path = saved(tmp_path / "a.png", encode(np.dstack([colour, alpha]), "PNG"))
    share = alpha[:, :, None] / 255
    expected = share * colour + (1 - share) * 255
    image = read_rgb(path)
    assert np.abs(image - expected).max() <= 1
    assert (image[:, 0] == 255).all()
    assert (image[:, 3] == (200, 100, 0)).all()


def test_transparent_gray_is_laid_over_white(tmp_path: Path) -> None:
    values = np.dstack([np.full((2, 2), 100), [[0, 255]] * 2]).astype(np.uint8)
    path = saved(tmp_path / "a.png", encode(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(gray_of(path), [[255, 100]] * 2)


def test_a_transparent_colour_is_white(tmp_path: Path) -> None:
    colour = np.full((2, 2, 3), (10, 20, 30), np.uint8)
    colour[0, 0] = (1, 2, 3)
    path = saved(tmp_path / "a.png", encode(colour, "PNG", transparency=(10, 20, 30)))
    image = read_rgb(path)
    assert tuple(image[0, 0]) == (1, 2, 3)
    assert (image[1] == 255).all()


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    indexed = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    image = read_rgb(saved(tmp_path / "a.png", encode(indexed, "PNG", transparency=1)))
    np.testing.assert_array_equal(image, [[[10, 20, 30], [255] * 3], [[255] * 3, [10, 20, 30]]])


# -- orientation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_images_are_turned_upright(tmp_path: Path, kind: str, orientation: int, turns: int) -> None:
    as_saved = read_rgb(saved(tmp_path / "as-saved", encode(picture(0), kind)))
    content = encode(picture(0), kind, exif=oriented(orientation))
    image = read_rgb(saved(tmp_path / "turned", content))
    np.testing.assert_array_equal(image, np.rot90(as_saved, turns))


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
@pytest.mark.parametrize("depth", [8, 16])
def test_gray_that_is_not_compressed_is_turned_too(
    tmp_path: Path, orientation: int, turns: int, depth: int
) -> None:
    levels = np.arange(240, dtype=np.uint8).reshape(12, 20)
    image = Image.fromarray(levels if depth == 8 else levels.astype(np.uint16) * 257)
    path = saved(tmp_path / "a.tif", encode(image, "TIFF", exif=oriented(orientation)))
    np.testing.assert_array_equal(gray_of(path), np.rot90(levels, turns))


@pytest.mark.parametrize("orientation", [2, 4])
def test_mirrored_images_are_mirrored_back(tmp_path: Path, orientation: int) -> None:
    content = encode(picture(0), "PNG", exif=oriented(orientation))
    axis = 1 if orientation == 2 else 0
    expected = np.flip(picture(0), axis)
    np.testing.assert_array_equal(read_rgb(saved(tmp_path / "a.png", content)), expected)


def test_16_bits_are_turned_too(tmp_path: Path) -> None:
    levels = np.arange(40, dtype=np.uint16).reshape(5, 8) * 257
    content = encode(Image.fromarray(levels), "PNG", exif=oriented(6))
    np.testing.assert_array_equal(
        gray_of(saved(tmp_path / "a.png", content)), np.rot90(levels // 257, -1)
    )


# -- what cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"Dear reader,\nno image.\n", b"\x89PNG\r\n\x1a\n"]
)
def test_files_that_are_not_images_are_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableImageError):
        read_rgb(saved(tmp_path / "a.png", content))


@pytest.mark.filterwarnings("ignore")  # of Pillow's about metadata
@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_an_error_at_any_length(tmp_path: Path, kind: str) -> None:
    whole = encode(picture(0), kind)
    errors = 0
    lengths = np.linspace(0, len(whole) * 0.95, 60).astype(int)
    for length in lengths:
        try:
            image = read_rgb(saved(tmp_path / "a.png", whole[:length]))
            assert image.shape == picture(0).shape
        except UnreadableImageError:
            errors += 1
    assert errors == len(lengths)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_changed_bytes_never_raise_anything_else(tmp_path: Path, kind: str) -> None:
    whole = encode(
        picture(0), kind, **({} if kind in ("BMP", "PPM", "GIF") else {"exif": oriented(6)})
    )
    random = np.random.default_rng(0)
    for _ in range(150):
        content = np.frombuffer(whole, np.uint8).copy()
        reach = len(content) if random.random() < 0.5 else min(200, len(content))
        content[random.integers(0, reach, 3)] = random.integers(0, 256, 3)
        try:
            image = read_rgb(saved(tmp_path / "a.png", content.tobytes()))
        except UnreadableImageError as error:
            assert str(error)  # noqa: PT017 - either outcome is right, another exception is not
        else:
            assert image.dtype == np.uint8
            assert image.shape[2:] == (3,)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_rgb(tmp_path / "nowhere.png")
    with pytest.raises(UnreadableImageError):
        read_rgb(tmp_path)


def test_too_many_pixels_are_an_error_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width, _ = picture(0).shape
    path = saved(tmp_path / "a.png", encode(picture(0), "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", height * width)
    np.testing.assert_array_equal(read_rgb(path), picture(0))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", height * width // 2 - 1)
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        read_rgb(path)


def test_heic_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    path = saved(tmp_path / "a.heic", encode(picture(0), "HEIF", quality=100))
    assert np.abs(read_rgb(path) - picture(0).astype(float)).mean() < 8


def test_heic_names_the_package_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FORMATS", tuple(set(reading.FORMATS) - {"HEIF"}))
    path = saved(tmp_path / "a.jpg", b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100))
    with pytest.raises(UnreadableImageError, match=r'pip install "deepdepixelate\[heic\]"'):
        read_rgb(path)
    assert image_files(tmp_path) == [path]


# -- folders ---------------------------------------------------------------------------------------


def test_the_images_of_a_folder_are_found_by_name(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.jpeg", "d.Tif", "e.webp", "f.bmp", "g.ppm", "a.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in image_files(tmp_path)] == [
        "a.jpg", "a.png", "b.PNG", "c.jpeg", "d.Tif", "e.webp", "f.bmp", "g.ppm"
    ]  # fmt: skip


def test_nothing_else_is_taken_for_an_image(tmp_path: Path) -> None:
    for name in (".hidden.png", "._a.png", ".DS_Store", "Thumbs.db", "notes.txt", "png", "a.png~"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._a.png").write_bytes(b"")
    assert image_files(tmp_path) == []
