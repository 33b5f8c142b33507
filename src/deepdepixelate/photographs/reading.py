"""Reading image files of any format and mode: upright, with 8 bits per channel."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from deepdepixelate.photographs import UnreadableImageError
from deepdepixelate.photographs.depth import check_colours, depth_of, raw_mode_of

with suppress(ImportError):  # HEIC, if Pillow's plugin for it is installed
    from pillow_heif import register_heif_opener

    register_heif_opener()

Image.init()

_HEIC_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})

FORMATS = tuple(
    sorted(set(Image.OPEN) - {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"})
)
"""Pillow's names of the supported formats: all that this installation decodes by itself. Formats
that Pillow only recognises, or passes to another program (EPS), are left out."""

SUFFIXES = _HEIC_SUFFIXES | {
    suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS
}
"""Suffixes, in lower case, by which images are found in a folder."""

DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, RuntimeError),
    *(TypeError, LookupError, ArithmeticError, AttributeError, struct.error),
)
"""Exceptions that Pillow raises for damaged files, on purpose or not."""

_QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


@dataclass(frozen=True)
class Upright:
    """A decoded image, turned as its EXIF orientation says.

    Attributes:
        image: of mode L, LA, RGB or RGBA.
        icc_profile: colour profile of its pixels, if the file has one.
        notes: what was converted, for the user.
        quarter_turn: whether width and height were swapped.
    """

    image: Image.Image
    icc_profile: bytes | None
    notes: tuple[str, ...]
    quarter_turn: bool


def image_files(directory: Path) -> list[Path]:
    """The images in a folder, sorted by name, without those in subfolders."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image file; see ``decode_rgb``."""
    with decoding(), path.open("rb") as file:
        return decode_rgb(file)


def decode_rgb(file: IO[bytes], *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Decode an image, turned as its EXIF orientation says.

    Gray becomes three equal channels, 16 bits are rounded to 8, and transparent areas are laid over
    white.

    Args:
        file: open for reading.
        max_pixels: see ``opened``.

    Returns:
        uint8 RGB of shape (H, W, 3).

    Raises:
        UnreadableImageError: the file cannot be decoded, or is ambiguous; see ``upright``.
    """
    with opened(file, max_pixels=max_pixels) as image:
        decoded = upright(image, max_pixels=max_pixels).image
        return np.asarray(over_white(decoded).convert("RGB"))


@contextmanager
def decoding() -> Iterator[None]:
    """Turn every exception that Pillow raises for a bad file into UnreadableImageError."""
    try:
        yield
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image that can be read") from None
    except Image.DecompressionBombError:
        megapixels = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise UnreadableImageError(
            f"has too many pixels to be decoded safely: more than {megapixels:.3g} megapixels"
        ) from None
    except MemoryError:
        raise UnreadableImageError("too large for the memory") from None
    except DAMAGE as error:
        raise UnreadableImageError(f"damaged image: {error}") from error


@contextmanager
def opened(file: IO[bytes], *, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open an image without decoding it. Errors of the ``with`` block are converted, too.

    Args:
        file: open for reading. Not a path: given one, Pillow maps raw pixels to memory, and garbles
            rotated images.
        max_pixels: larger images are refused; None for Pillow's own limit, 89 million.

    Raises:
        UnreadableImageError: not an image, damaged, or too large.
    """
    with decoding():
        with warnings.catch_warnings():  # the limit is checked here, and lower
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            try:
                image = Image.open(file, formats=FORMATS)
            except UnidentifiedImageError:
                _check_heic(file)
                raise
        with image:
            _check_pixels(image, max_pixels)
            yield image


def upright(image: Image.Image, *, max_pixels: int | None = None) -> Upright:
    """Decode an image that ``opened`` gave, inside its ``with`` block.

    Args:
        image: not decoded yet.
        max_pixels: see ``opened``.

    Raises:
        UnreadableImageError: the file does not define the range of its values, or the image is
            larger than its header says.
    """
    depth, raw_mode = depth_of(image), raw_mode_of(image)
    quarter_turn = is_quarter_turned(image)
    image.load()
    turned = image
    with suppress(*DAMAGE):
        turned = ImageOps.exif_transpose(image)
    _check_pixels(turned, max_pixels)  # an icon's header describes another of its images
    icc_profile = image.info.get("icc_profile")
    notes = []
    if depth is not None:
        notes.append("its 16 bits per channel were reduced to 8")
        if turned.mode.startswith("I") or turned.mode == "F":
            turned = depth.to_eight_bits(turned)
        else:
            check_colours(turned)
    if raw_mode == "LA;16B":
        turned = turned.convert("LA")  # Pillow decodes it as RGBA
    elif (value := turned.info.get("transparency")) is not None:
        turned.info["transparency"] = _as_decoded(value, raw_mode)
    if turned.mode in ("CMYK", "LAB"):
        notes.append(f"its {turned.mode} colours were converted to sRGB")
        turned, icc_profile = _to_srgb(turned, icc_profile), None
    return Upright(_in_plain_mode(turned), icc_profile, tuple(notes), quarter_turn)


def is_quarter_turned(image: Image.Image) -> bool:
    """Whether the EXIF orientation of an opened image swaps its width and height."""
    with suppress(*DAMAGE):  # ignore damaged EXIF
        return image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
    return False


def over_white(image: Image.Image) -> Image.Image:
    """Remove the alpha of an image of mode L, LA, RGB or RGBA by laying it over white."""
    if not image.has_transparency_data:
        return image
    opaque = image.convert("RGBA")
    white = Image.new("RGBA", opaque.size, "white")
    return Image.alpha_composite(white, opaque).convert(image.mode.removesuffix("A"))


def _check_pixels(image: Image.Image, max_pixels: int | None) -> None:
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    width, height = image.size
    if limit is not None and width * height > limit:
        raise UnreadableImageError(
            f"{width}x{height} pixels: more than {limit / 1e6:g} megapixels, which is the limit: "
            "shrink or crop it first"
        )


def _check_heic(file: IO[bytes]) -> None:
    file.seek(0)
    head = file.read(12)
    if "HEIF" not in FORMATS and head[4:8] == b"ftyp" and head[8:] in _HEIC_BRANDS:
        raise UnreadableImageError(
            'HEIC, which needs another package: pip install "deepdepixelate[heic]"'
        )


def _as_decoded(transparent: Any, raw_mode: str) -> Any:
    """The transparent value of a PNG, scaled to 8 bits as Pillow scales the pixels."""
    if raw_mode in ("L;2", "L;4"):
        return transparent * (85 if raw_mode == "L;2" else 17)
    if raw_mode.startswith("RGB;16"):
        return tuple(value >> 8 for value in transparent)
    return transparent


def _in_plain_mode(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("LA" if image.has_transparency_data else "L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """Convert CMYK or LAB to sRGB; CMYK without a profile by the simple formula."""
    srgb = ImageCms.createProfile("sRGB")
    if image.mode == "LAB":
        icc_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    if icc_profile is not None:
        with suppress(ImageCms.PyCMSError):
            source = BytesIO(icc_profile)
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            assert converted is not None  # noqa: S101 - it is not converted in place
            return converted
    return image.convert("RGB")
