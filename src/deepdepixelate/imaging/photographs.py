"""Images of any size and mode, as files hold them, to uint8 RGB."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png"}
    | {".ppm", ".tif", ".tiff", ".webp"}
)
"""Endings, in lower case, of the files in a folder that are taken for images."""


class UnreadableImageError(Exception):
    """The file is not an image, damaged, or too large to decode; the message says which."""


def image_files(directory: Path) -> list[Path]:
    """The images of a folder, not of those below it, by name."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode an image, turned as its EXIF orientation says.

    Gray becomes three equal channels, 16 bits are rounded to 8, and what is transparent is laid
    over white.

    Returns:
        uint8 RGB of shape (H, W, 3).

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    # By a file object: of a path Pillow maps raw pixels to memory, and garbles turned ones.
    with decoding(), path.open("rb") as file, Image.open(file) as image:
        return np.asarray(to_rgb(ImageOps.exif_transpose(image)))


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever Pillow raises of a file that it cannot decode into UnreadableImageError."""
    try:
        yield
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image that can be read") from None
    except Image.DecompressionBombError:
        raise UnreadableImageError("has too many pixels to be decoded safely") from None
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:
        raise UnreadableImageError(f"damaged image: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB; see ``read_rgb``."""
    if image.mode.startswith("I") or image.mode == "F":  # Pillow would clip them at 255
        values = np.asarray(image, dtype=np.float64)
        is_deep = image.mode.startswith("I;16") or values.max(initial=0) > 255
        scaled = values / 257 if is_deep else values
        return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")
