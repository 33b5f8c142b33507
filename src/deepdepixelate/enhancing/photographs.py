"""A person's photograph: its pixels, and what must not get lost on the way."""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from deepdepixelate.imaging.photographs import UnreadableImageError, decoding, to_rgb

with suppress(ImportError):  # HEIC, where a person has installed Pillow's plugin for it
    from pillow_heif import register_heif_opener

    register_heif_opener()

SMALLEST = 4
"""Side in pixels below which there is nothing to enlarge."""


@dataclass(frozen=True)
class Photograph:
    """An image, upright, and how to give it back as it came.

    Attributes:
        pixels: uint8 RGB (H, W, 3).
        alpha: how opaque each pixel is, mode L; None if all are.
        gray: whether it came without colour.
        icc_profile: the colour profile that its pixels are in, if it names one.
        notes: what a person should know of the conversion.
    """

    pixels: NDArray[np.uint8]
    alpha: Image.Image | None
    gray: bool
    icc_profile: bytes | None
    notes: tuple[str, ...]

    def finish(self, enlarged: Image.Image) -> Image.Image:
        """Give an enlargement, in RGB, the photograph's own gray and alpha."""
        finished = enlarged.convert("L") if self.gray else enlarged
        if self.alpha is not None:
            finished.putalpha(self.alpha.resize(enlarged.size, Image.Resampling.BICUBIC))
        return finished


def read_photograph(source: Path | IO[bytes], *, max_pixels: int) -> Photograph:
    """Decode a photograph, turned as its EXIF orientation says.

    Args:
        source: a file's path, or an open file.
        max_pixels: more are refused, before they are decoded.

    Raises:
        UnreadableImageError: not an image, damaged, animated, too small or too large.
    """
    if isinstance(source, Path):
        # Not by its path: Pillow would map some TIFF files to memory, and turn the map wrongly.
        try:
            with source.open("rb") as file:
                return read_photograph(file, max_pixels=max_pixels)
        except OSError as error:
            raise UnreadableImageError(f"cannot be read: {error.strerror or error}") from error
    with decoding():
        try:
            with warnings.catch_warnings():  # the limit is checked here, and lower
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(source)
        except Image.DecompressionBombError:
            raise UnreadableImageError(_too_large(max_pixels)) from None
        with image:
            _check(image, max_pixels)
            return _convert(image)


def _check(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableImageError(f"{width}x{height} pixels: {_too_large(max_pixels)}")
    if min(width, height) < SMALLEST:
        raise UnreadableImageError(
            f"{width}x{height} pixels are too few: at least {SMALLEST}x{SMALLEST} are needed"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a camera's JPEG with other views behind it
        raise UnreadableImageError(
            f"animated or of several pages ({frames}): save the one to enlarge as an image"
        )


def _too_large(max_pixels: int) -> str:
    return f"more than {max_pixels / 1e6:g} megapixels, which is the limit"


def _convert(image: Image.Image) -> Photograph:
    notes = []
    if image.mode in ("I", "F") or _is_deep(image):
        notes.append("its 16 bits a channel were reduced to 8")
    upright = ImageOps.exif_transpose(image)
    icc_profile = image.info.get("icc_profile")
    gray = upright.mode in ("1", "L", "LA", "La", "I", "F") or upright.mode.startswith("I;16")
    alpha = None
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        alpha = upright.getchannel("A")
        upright = upright.convert("RGB")
    if upright.mode == "CMYK":
        upright, icc_profile = _from_cmyk(upright, icc_profile), None
        notes.append("its CMYK colours were converted to sRGB")
    return Photograph(np.asarray(to_rgb(upright)), alpha, gray, icc_profile, tuple(notes))


def _is_deep(image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel, of which Pillow keeps 8 in colour images."""
    decoders = getattr(image, "tile", [])  # of files that are not decoded yet
    return any("16" in str(decoder[-1]) for decoder in decoders)


def _from_cmyk(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    if icc_profile is not None:
        with suppress(ImageCms.PyCMSError):
            profiles = BytesIO(icc_profile), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
            assert converted is not None  # noqa: S101 - it is not converted in place
            return converted
    return image.convert("RGB")
