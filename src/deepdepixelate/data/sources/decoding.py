"""Decoding of one image, and its fitting to the size that is stored."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from deepdepixelate.data.sources.source import RejectedImageError
from deepdepixelate.limits import INPUT_PIXELS
from deepdepixelate.parameters import IngestParameters

_JPEG_MAGIC = b"\xff\xd8\xff"
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

_QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK"}
"""Pillow's modes of at most 8 bits per channel."""

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    struct.error,
    Image.DecompressionBombError,
)
"""Exceptions that Pillow raises for damaged files, on purpose or not."""


def decode_face(encoded: bytes, parameters: IngestParameters) -> NDArray[np.uint8]:
    """Decode an image that covers the crop.

    With ``parameters.fit`` exact, the image must have the configured size, see ``decode``; with
    cover, it is shrunk to cover the crop, see ``decode_to_cover``.

    Returns:
        uint8 RGB of shape (H, W, 3), H and W at least those of the crop.

    Raises:
        RejectedImageError: damaged, not an image, or of a size or mode that cannot be used.
    """
    if parameters.fit == "cover":
        return decode_to_cover(encoded, parameters.crop_width, parameters.crop_height)
    return decode(encoded, parameters.width, parameters.height)


def decode(encoded: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Decode an image that must be RGB of exactly this size.

    JPEG is decoded by libjpeg-turbo in strict mode, which raises an error on damaged data (a bad
    Huffman code, surplus bytes) that Pillow would replace with gray or garbage.

    Returns:
        uint8 RGB of shape (height, width, 3).

    Raises:
        RejectedImageError: damaged, not an image, not RGB or of another size.
    """

    def check_header(mode: str, actual_width: int, actual_height: int) -> None:
        """Check before decoding: a header can claim a size that does not fit into memory."""
        if mode != "RGB":
            raise RejectedImageError(f"colour mode {mode}, expected RGB")
        if (actual_width, actual_height) != (width, height):
            raise RejectedImageError(
                f"{actual_width}x{actual_height} pixels, expected {width}x{height}"
            )

    if encoded.startswith(_JPEG_MAGIC):
        with _rejecting_damage("JPEG"):
            actual_height, actual_width, space, _ = simplejpeg.decode_jpeg_header(encoded)
            check_header("RGB" if space == "YCbCr" else space, actual_width, actual_height)
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(encoded, strict=True)
            return pixels
    with _rejecting_damage("image"), Image.open(BytesIO(encoded), formats=_FORMATS) as image:
        check_header(image.mode, *image.size)
        return np.asarray(image)


def decode_to_cover(encoded: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Decode an image of any larger size and shrink it to the smallest size that covers a crop.

    The image is turned as its EXIF orientation says; gray, palette and CMYK become RGB, and
    transparent areas are laid over white. It is shrunk by ``PIL.ImageOps.cover`` with the
    antialiased Lanczos kernel, which keeps the aspect ratio. Large JPEGs are first shrunk by
    libjpeg to at least twice the result's size, which changes the result little (see
    ``reducing_gap`` of ``PIL.Image.Image.resize``).

    Returns:
        uint8 RGB of shape (H, W, 3): H = height or W = width, and the other one is no smaller.

    Raises:
        RejectedImageError: damaged, not an image, smaller than the crop, or with more than 8 bits
            per channel or INPUT_PIXELS pixels.
    """
    with _rejecting_damage("image"), Image.open(BytesIO(encoded), formats=_FORMATS) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        turned = orientation in _QUARTER_TURNS
        upright_width, upright_height = image.size[::-1] if turned else image.size
        if image.width * image.height > INPUT_PIXELS:
            raise RejectedImageError(
                f"{image.width}x{image.height} pixels, more than {INPUT_PIXELS / 1e6:g} megapixels"
            )
        if upright_width < width or upright_height < height:
            raise RejectedImageError(
                f"{upright_width}x{upright_height} pixels, smaller than the crop of "
                f"{width}x{height}"
            )
        if image.mode not in _MODES:
            raise RejectedImageError(f"colour mode {image.mode}, expected 8 bits per channel")
        if image.format in ("JPEG", "MPO") and image.mode != "CMYK":
            least = (2 * height, 2 * width) if turned else (2 * width, 2 * height)
            rgb = Image.fromarray(
                simplejpeg.decode_jpeg(encoded, min_width=least[0], min_height=least[1])
            )
        else:
            rgb = _to_rgb(image)
        rgb.getexif()[ExifTags.Base.Orientation] = orientation
        upright = ImageOps.exif_transpose(rgb)
        return np.asarray(ImageOps.cover(upright, (width, height), Image.Resampling.LANCZOS))


def _to_rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


@contextmanager
def _rejecting_damage(kind: str) -> Iterator[None]:
    """Turn the decoders' errors into RejectedImageError."""
    try:
        yield
    except UnidentifiedImageError:
        raise RejectedImageError("not an image that can be read") from None
    except _DAMAGE as error:
        raise RejectedImageError(f"damaged {kind}: {error}") from error
