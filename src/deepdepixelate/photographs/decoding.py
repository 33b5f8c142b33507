"""Opening image files: which formats, how large, and what is told of those that fail."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from PIL import Image, UnidentifiedImageError

with suppress(ImportError):  # HEIC, if Pillow's plugin for it is installed
    from pillow_heif import register_heif_opener

    register_heif_opener()

Image.init()

_HEIC_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})

FORMATS = tuple(
    sorted(set(Image.OPEN) - {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"})
)
"""Pillow's names of what is read: all that it decodes by itself, in this installation. Left out is
what it only recognises, and what it gives to another program (EPS)."""

SUFFIXES = _HEIC_SUFFIXES | {
    suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS
}
"""Endings, in lower case, of the files in a folder that are taken for images."""


DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, RuntimeError),
    *(TypeError, LookupError, ArithmeticError, AttributeError, struct.error),
)
"""What Pillow raises of a damaged file, on purpose and where it runs into contradictions."""


class UnreadableImageError(Exception):
    """The file is not an image, damaged, or too large to decode; the message says which."""


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever Pillow raises of a file that it cannot decode into UnreadableImageError."""
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
    """Open an image without decoding it; errors until the end of the ``with`` block are told.

    Args:
        file: open for reading. Not by its path: of a path Pillow maps raw pixels to memory, and
            garbles turned ones.
        max_pixels: more are refused; None for Pillow's own limit, 89 million.

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
            check_pixels(image, max_pixels)
            yield image


def check_pixels(image: Image.Image, max_pixels: int | None) -> None:
    """Raise UnreadableImageError where an image has more pixels than may be; see ``opened``."""
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    width, height = image.size
    if limit is not None and width * height > limit:
        raise UnreadableImageError(
            f"{width}x{height} pixels: more than {limit / 1e6:g} megapixels, which is the limit"
        )


def _check_heic(file: IO[bytes]) -> None:
    file.seek(0)
    head = file.read(12)
    if "HEIF" not in FORMATS and head[4:8] == b"ftyp" and head[8:] in _HEIC_BRANDS:
        raise UnreadableImageError(
            'HEIC, which needs a package of its own: pip install "deepdepixelate[heic]"'
        )
