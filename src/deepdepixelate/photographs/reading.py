"""Images of any size and mode, as files hold them, upright and with 8 bits a channel."""

from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps

from deepdepixelate.photographs.decoding import (
    DAMAGE,
    SUFFIXES,
    UnreadableImageError,
    check_pixels,
    decoding,
    opened,
)
from deepdepixelate.photographs.depth import check_colours, depth_of, raw_mode_of

__all__ = ["UnreadableImageError", "Upright", "decoding", "image_files", "read_rgb", "upright"]


_QUARTER_TURNS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Upright:
    """An image turned as its EXIF orientation says.

    Attributes:
        image: of mode L, LA, RGB or RGBA.
        icc_profile: the colour profile that its pixels are in, if it names one.
        notes: what a user should know about the conversion.
        quarter_turn: whether its rows were columns.
    """

    image: Image.Image
    icc_profile: bytes | None
    notes: tuple[str, ...]
    quarter_turn: bool


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
        UnreadableImageError: it cannot be decoded, or not rightly.
    """
    with decoding(), path.open("rb") as file, opened(file) as image:
        return np.asarray(over_white(upright(image).image).convert("RGB"))


def upright(image: Image.Image, *, max_pixels: int | None = None) -> Upright:
    """Decode an image that was opened; within ``decoding``.

    Args:
        image: not decoded yet.
        max_pixels: see ``opened``.

    Raises:
        UnreadableImageError: the file does not say what its values mean, or it turns out larger
            than its header says.
    """
    quarter_turn = False
    depth, raw_mode = depth_of(image), raw_mode_of(image)
    with suppress(*DAMAGE):  # EXIF that is damaged says nothing
        quarter_turn = image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
    image.load()
    turned = image
    with suppress(*DAMAGE):
        turned = ImageOps.exif_transpose(image)
    check_pixels(turned, max_pixels)  # of an icon, the header is another one's
    icc_profile = image.info.get("icc_profile")
    notes = []
    if depth is not None:
        notes.append("its 16 bits a channel were reduced to 8")
        if turned.mode.startswith("I") or turned.mode == "F":
            turned = depth.to_eight_bits(turned)
        else:
            check_colours(turned)
    if raw_mode == "LA;16B":
        turned = turned.convert("LA")  # Pillow makes RGBA of it
    elif (value := turned.info.get("transparency")) is not None:
        turned.info["transparency"] = _as_decoded(value, raw_mode)
    if turned.mode in ("CMYK", "LAB"):
        notes.append(f"its {turned.mode} colours were converted to sRGB")
        turned, icc_profile = _to_srgb(turned, icc_profile), None
    return Upright(_in_plain_mode(turned), icc_profile, tuple(notes), quarter_turn)


def over_white(image: Image.Image) -> Image.Image:
    """An image of mode L, LA, RGB or RGBA, without alpha: what is transparent lies over white."""
    if not image.has_transparency_data:
        return image
    opaque = image.convert("RGBA")
    white = Image.new("RGBA", opaque.size, "white")
    return Image.alpha_composite(white, opaque).convert(image.mode.removesuffix("A"))


def _as_decoded(transparent: Any, raw_mode: str) -> Any:
    """The value that a PNG calls transparent, as Pillow decodes pixels: with 8 bits."""
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
    """CMYK or LAB in sRGB; CMYK without a profile by the plain formula."""
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
