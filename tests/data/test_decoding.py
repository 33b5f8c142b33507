import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps
from small_faces import HEIGHT, WIDTH, encode, jpeg, picture

from deepdepixelate.data.sources import RejectedImageError, decode
from deepdepixelate.data.sources.decoding import decode_to_cover


def claim_size(encoded: bytes, kind: str, width: int, height: int) -> bytes:
    """An image whose header claims another size."""
    changed = bytearray(encoded)
    if kind == "JPEG":
        struct.pack_into(">2H", changed, changed.index(b"\xff\xc0") + 5, height, width)
    elif kind == "PNG":
        struct.pack_into(">2I", changed, 16, width, height)
        struct.pack_into(">I", changed, 29, zlib.crc32(changed[12:29]))
    else:
        struct.pack_into("<2i", changed, 18, width, height)
    return bytes(changed)


# -- decode ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 90])
def test_jpegs_decode_as_pillow_decodes_them(
    subsampling: str, progressive: bool, quality: int
) -> None:
    encoded = encode(
        picture(1), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive
    )
    pixels = decode(encoded, WIDTH, HEIGHT)
    with Image.open(BytesIO(encoded)) as image:
        np.testing.assert_array_equal(pixels, np.asarray(image))
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_images_decode_to_what_they_were_made_of(kind: str) -> None:
    np.testing.assert_array_equal(decode(encode(picture(2), kind), WIDTH, HEIGHT), picture(2))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_cut_short_is_rejected(kind: str, kept: float) -> None:
    encoded = encode(picture(3), kind)
    with pytest.raises(RejectedImageError, match=r"damaged|not an image"):
        decode(encoded[: int(kept * len(encoded))], WIDTH, HEIGHT)


def test_a_jpeg_without_its_end_is_rejected() -> None:
    with pytest.raises(RejectedImageError, match="damaged JPEG: Premature end"):
        decode(jpeg(3)[:-2], WIDTH, HEIGHT)


@pytest.mark.parametrize("seed", range(5))
def test_a_jpeg_with_garbage_in_the_middle_is_rejected(seed: int) -> None:
    encoded = bytearray(jpeg(3))
    middle = len(encoded) * 2 // 3
    encoded[middle : middle + 200] = np.random.default_rng(seed).bytes(200)
    with pytest.raises(RejectedImageError, match="damaged JPEG"):
        decode(bytes(encoded), WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("mode", "kind", "reason"),
    [
        ("L", "JPEG", "colour mode Gray, expected RGB"),
        ("CMYK", "JPEG", "colour mode CMYK, expected RGB"),
        ("L", "PNG", "colour mode L, expected RGB"),
        ("RGBA", "PNG", "colour mode RGBA, expected RGB"),
        ("P", "PNG", "colour mode P, expected RGB"),
    ],
)
def test_an_image_in_another_colour_mode_is_rejected(mode: str, kind: str, reason: str) -> None:
    encoded = encode(Image.fromarray(picture(4)).convert(mode), kind)
    with pytest.raises(RejectedImageError, match=reason):
        decode(encoded, WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height"), [(WIDTH + 1, HEIGHT), (WIDTH, HEIGHT - 1), (HEIGHT, WIDTH)]
)
def test_an_image_of_another_size_is_rejected(kind: str, width: int, height: int) -> None:
    encoded = encode(picture(5, width, height), kind)
    with pytest.raises(
        RejectedImageError, match=f"{width}x{height} pixels, expected {WIDTH}x{HEIGHT}"
    ):
        decode(encoded, WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_size_claimed_by_the_header_takes_no_memory(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, high = (30_000, 29_000) if kind == "JPEG" else (9_000, 8_000)
    encoded = claim_size(encode(picture(5), kind), kind, wide, high)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", None)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(RejectedImageError, match=r"(30000x29000|9000x8000) pixels, expected"):
        decode(encoded, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "encoded", [b"", b"\x00" * 5000, b"not an image", b"\xff\xd8\xff", b"\xff\xd8", b"\x89PNG\r\n"]
)
def test_bytes_that_are_no_image_are_rejected(encoded: bytes) -> None:
    with pytest.raises(RejectedImageError, match=r"not an image|damaged"):
        decode(encoded, WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_damage_is_never_another_error(kind: str) -> None:
    random = np.random.default_rng(6)
    good = np.frombuffer(encode(picture(6), kind), np.uint8)
    rejected = 0
    for _ in range(150):
        damaged = good.copy()
        places = random.integers(0, len(good), 12)
        damaged[places] = random.integers(0, 256, 12)
        encoded = damaged[: random.integers(1, len(good) + 1)].tobytes()
        try:
            assert decode(encoded, WIDTH, HEIGHT).shape == (HEIGHT, WIDTH, 3)
        except RejectedImageError:
            rejected += 1
    assert rejected > 50


# -- decode_to_cover -------------------------------------------------------------------------------


def covered(image: NDArray[np.uint8] | Image.Image, width: int, height: int) -> NDArray[np.float64]:
    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return np.asarray(
        ImageOps.cover(opened.convert("RGB"), (width, height), Image.Resampling.LANCZOS), float
    )


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (96, 80, (48, 40)),
        (98, 80, (49, 40)),
        (48, 300, (48, 300)),
        (300, 40, (300, 40)),
        (480, 401, (48, 40)),
    ],
)
def test_an_image_is_shrunk_until_it_just_covers_the_crop(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    pixels = decode_to_cover(encode(picture(1, width, height), "PNG"), 48, 40)
    assert pixels.shape == (expected[1], expected[0], 3)
    np.testing.assert_array_equal(pixels, covered(picture(1, width, height), 48, 40))


def test_fine_stripes_become_gray_and_not_coarse_stripes() -> None:
    stripes = np.zeros((400, 480, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode_to_cover(encode(stripes, "PNG"), 48, 40)
    assert np.abs(pixels[:, 4:-4].astype(int) - 127).max() <= 2


@pytest.mark.parametrize(("width", "height"), [(47, 400), (480, 39), (40, 48)])
def test_a_smaller_image_is_rejected_and_never_enlarged(width: int, height: int) -> None:
    with pytest.raises(
        RejectedImageError, match=f"{width}x{height} pixels, smaller than the crop of 48x40"
    ):
        decode_to_cover(encode(picture(1, width, height), "PNG"), 48, 40)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "JPEG"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_every_colour_mode_becomes_rgb(mode: str, kind: str) -> None:
    image = Image.fromarray(picture(1, 96, 80)).convert(mode)
    try:
        encoded = encode(image, kind)
    except OSError:
        pytest.skip(f"{kind} has no mode {mode}")
    pixels = decode_to_cover(encoded, 48, 40)
    with Image.open(BytesIO(encoded)) as written:
        assert np.abs(pixels - covered(written, 48, 40)).mean() < 0.5


def test_transparent_areas_become_white() -> None:
    image = Image.fromarray(picture(1, 96, 80)).convert("RGBA")
    image.putalpha(0)
    assert decode_to_cover(encode(image, "PNG"), 48, 40).min() == 255
    palette = Image.new("P", (96, 80), 0)
    assert decode_to_cover(encode(palette, "PNG", transparency=0), 48, 40).min() == 255


def test_16_bits_per_channel_are_rejected() -> None:
    image = Image.fromarray(np.full((80, 96), 30_000, np.uint16))
    with pytest.raises(RejectedImageError, match="colour mode I;16, expected 8 bits"):
        decode_to_cover(encode(image, "PNG"), 48, 40)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(picture(1, 480, 408))
    encoded = encode(image, kind, exif=exif, **({} if kind == "PNG" else {"quality": 95}))
    with Image.open(BytesIO(encoded)) as written:
        expected = covered(ImageOps.exif_transpose(written), 48, 40)
    pixels = decode_to_cover(encoded, 48, 40)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 1


def test_a_large_jpeg_is_shrunk_by_libjpeg_first(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(picture(1, 960, 808), "JPEG", quality=95)
    sizes: list[tuple[int, ...]] = []
    strict = simplejpeg.decode_jpeg

    def recorded(*arguments: object, **settings: object) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = strict(*arguments, **settings)
        sizes.append(pixels.shape)
        return pixels

    monkeypatch.setattr(simplejpeg, "decode_jpeg", recorded)
    pixels = decode_to_cover(encoded, 48, 40)
    assert sizes == [(101, 120, 3)]
    with Image.open(BytesIO(encoded)) as image:
        assert np.abs(pixels - covered(image, 48, 40)).mean() < 1.5


def test_a_damaged_jpeg_is_rejected_when_it_is_shrunk_as_well() -> None:
    encoded = bytearray(encode(picture(3, 480, 400), "JPEG"))
    encoded[20_000:20_200] = np.random.default_rng(1).bytes(200)
    for damaged in (bytes(encoded), bytes(encoded[:15_000])):
        with pytest.raises(RejectedImageError, match="damaged"):
            decode_to_cover(damaged, 48, 40)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_header_that_claims_60_000_pixels_a_side_is_rejected_before_decoding(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = claim_size(encode(picture(5), kind), kind, 60_000, 60_000)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", None)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(RejectedImageError, match=r"60000x60000 pixels, more than|damaged"):
        decode_to_cover(encoded, 48, 40)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "EPS"])
def test_other_formats_are_rejected_whatever_their_suffix(kind: str) -> None:
    with pytest.raises(RejectedImageError, match="not an image that can be read"):
        decode_to_cover(encode(picture(1, 96, 80), kind), 48, 40)
    with pytest.raises(RejectedImageError, match="not an image that can be read"):
        decode(encode(picture(1), kind), WIDTH, HEIGHT)
