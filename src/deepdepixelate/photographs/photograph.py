"""A user's photograph: its pixels, and what must not get lost on the way."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from deepdepixelate.photographs.decoding import UnreadableImageError, opened
from deepdepixelate.photographs.metadata import Metadata, read_metadata
from deepdepixelate.photographs.reading import upright

SMALLEST = 4
"""Side in pixels below which there is nothing to enlarge."""

_MAIN_IMAGE_FIRST = frozenset({"MPO", "PSD", "HEIF"})
"""Formats whose other frames are views, layers or previews of the first: MPO is a camera's JPEG."""


@dataclass(frozen=True)
class Photograph:
    """An image, upright, and how to give it back as it came.

    Attributes:
        pixels: uint8 RGB (H, W, 3); what is transparent has the colour of what is next to it.
        alpha: how opaque each pixel is, mode L; None if all are.
        gray: whether it came without colour.
        icc_profile: the colour profile that its pixels are in, if it names one.
        notes: what a user should know about the conversion.
        metadata: EXIF and resolution.
    """

    pixels: NDArray[np.uint8]
    alpha: Image.Image | None
    gray: bool
    icc_profile: bytes | None
    notes: tuple[str, ...]
    metadata: Metadata = field(default_factory=Metadata)

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
        UnreadableImageError: not an image, damaged, animated, too small or too large, or of values
            whose meaning the file does not say.
    """
    if isinstance(source, Path):
        try:
            if source.exists() and not source.is_file():  # a pipe would be waited for
                raise UnreadableImageError("not a file")
            with source.open("rb") as file:
                return read_photograph(file, max_pixels=max_pixels)
        except OSError as error:
            raise UnreadableImageError(f"cannot be read: {error.strerror or error}") from error
    with opened(source, max_pixels=max_pixels) as image:
        _check(image)
        found = upright(image, max_pixels=max_pixels)
        metadata, notes = read_metadata(image)
    if found.quarter_turn and metadata.dpi is not None:
        metadata = replace(metadata, dpi=metadata.dpi[::-1])
    rgb, alpha = np.asarray(found.image.convert("RGB")), None
    if found.image.mode.endswith("A"):
        alpha = found.image.getchannel("A")
        rgb = _bleed(rgb, np.asarray(alpha))
    gray = found.image.mode in ("L", "LA")
    return Photograph(rgb, alpha, gray, found.icc_profile, (*found.notes, *notes), metadata)


def _check(image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < SMALLEST:
        raise UnreadableImageError(
            f"{width}x{height} pixels are too few: at least {SMALLEST}x{SMALLEST} are needed"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _MAIN_IMAGE_FIRST:
        raise UnreadableImageError(
            f"animated or of several pages ({frames}): save the one to enlarge as an image"
        )


def _bleed(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give what is fully transparent the colour of the nearest pixel that is not.

    A network looks at the colours around a pixel, and under an alpha of 0 there are any, mostly
    black, which would show as a dark fringe.

    Args:
        pixels: RGB (H, W, 3).
        alpha: (H, W).
    """
    hidden = alpha == 0
    if hidden.all() or not hidden.any():
        return pixels
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    bled: NDArray[np.uint8] = pixels[rows, columns]
    return bled
