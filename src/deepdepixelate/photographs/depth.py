"""Reducing images of more than 8 bits per channel to 8, if the file defines their range."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from deepdepixelate.photographs import UnreadableImageError

_Tags = Mapping[int, Any]

_FULL = 0xFFFF
_SCALED_BY_PILLOW = frozenset({"PNG", "PPM", "JPEG2000"})
"""Formats whose deep gray Pillow always scales to 0 to 65535."""

_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339
_MAXIMUM, _SIGNED_MINIMUM, _SIGNED_MAXIMUM = 281, 340, 341
_WHITE_IS_ZERO, _UNSIGNED, _FLOAT = 0, 1, 3


@dataclass(frozen=True)
class Depth:
    """The range of an image's values.

    Attributes:
        low: the value of black.
        high: the value of white; below ``low`` if the file says that white is 0.
        stated: whether the file states the range; otherwise it follows from the number of bits.
    """

    low: float
    high: float
    stated: bool

    def to_eight_bits(self, image: Image.Image) -> Image.Image:
        """Convert gray of mode I;16, I or F to mode L, or to LA if one value is transparent.

        Raises:
            UnreadableImageError: the values look as if they had fewer bits.
        """
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise UnreadableImageError("some of its values are NaN or infinite")
        if not self.stated:
            _refuse_few_bits(float(values.max(initial=0)), _FULL)
        levels = (values - self.low) * (255 / (self.high - self.low))
        gray = Image.fromarray(np.rint(levels).clip(0, 255).astype(np.uint8))
        if (transparent := image.info.get("transparency")) is not None:
            gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
        return gray


def depth_of(image: Image.Image) -> Depth | None:
    """The range of an image's values, before it is decoded; None for 8 bits per channel.

    Raises:
        UnreadableImageError: there are more than 8 bits, and the file does not define white.
    """
    tags: _Tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if not (image.mode.startswith("I") or image.mode == "F"):
        if not _is_deep_colour(raw_mode_of(image)):
            return None
        if _stated_bits(tags) not in (None, 16):  # Pillow keeps the upper 8 of 16
            raise UnreadableImageError(f"{_stated_bits(tags)} bits in 16: {_ADVICE}")
        return Depth(0, _FULL, stated=False)
    if image.mode != "F" and image.format in _SCALED_BY_PILLOW:
        return Depth(0, _FULL, stated=False)
    if image.format == "TIFF":
        return _of_tiff(tags)
    raise UnreadableImageError(_unknown(image.format or "image"))


def raw_mode_of(image: Image.Image) -> str:
    """Pillow's name for the layout of the pixels in the file, such as ``RGB;16B``."""
    for decoder in getattr(image, "tile", []):
        arguments = decoder[-1]
        return str(arguments[0] if isinstance(arguments, tuple) else arguments)
    return ""


def check_colours(image: Image.Image) -> None:
    """Check colours that Pillow has reduced from 16 bits to 8.

    Raises:
        UnreadableImageError: they look as if they had fewer bits.
    """
    if image.mode in ("L", "LA", "RGB", "RGBA", "RGBX"):
        _refuse_few_bits(float(np.asarray(image.convert("RGB")).max(initial=0)), 255)


_ADVICE = "save it with 8 bits per channel, or with values that use all of 16"


def _of_tiff(tags: _Tags) -> Depth:
    bits, form = _first(tags, _BITS, 1), _first(tags, _SAMPLE_FORMAT, _UNSIGNED)
    low, high = _first(tags, _SIGNED_MINIMUM, 0), _first(tags, _SIGNED_MAXIMUM, None)
    if form == _FLOAT or high is not None:
        if high is None or not low < high:
            raise UnreadableImageError(_unknown(f"{bits}-bit TIFF"))
        found = Depth(low, high, stated=True)
    elif (stated := _stated_bits(tags)) is not None:
        found = Depth(0, (1 << stated) - 1, stated=True)
    elif form == _UNSIGNED and bits <= 16:
        found = Depth(0, (1 << bits) - 1, stated=bits < 16)
    else:
        raise UnreadableImageError(_unknown(f"{bits}-bit TIFF"))
    if _first(tags, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:  # Pillow does not invert these
        return Depth(found.high, found.low, found.stated)
    return found


def _is_deep_colour(raw_mode: str) -> bool:
    """Whether Pillow reduces 16 bits per channel to 8; BGR;16 has 16 bits per pixel."""
    return ";16" in raw_mode and not raw_mode.startswith("BGR")


def _stated_bits(tags: _Tags) -> int | None:
    """The bits that MaxSampleValue needs: it is the highest value used, not the highest allowed."""
    highest = _first(tags, _MAXIMUM, None)
    return None if not highest else max(8, int(highest).bit_length())


def _first(tags: _Tags, tag: int, default: Any) -> Any:
    """A tag's value, or that of the first channel."""
    value = tags.get(tag, default)
    return value[0] if isinstance(value, tuple) else value


def _refuse_few_bits(highest: float, full: int) -> None:
    """Refuse values that may be 12 bits stored in 16: they would come out almost black."""
    if 0 < highest * 16 < full:
        raise UnreadableImageError(
            f"its highest value is {highest:g} of {full}, as if its values had 12 bits or fewer, "
            f"and the file does not say so: {_ADVICE}"
        )


def _unknown(kind: str) -> str:
    return (
        f"the file does not say which of its values ({kind}) is white: save it with 8 or 16 bits "
        "per channel"
    )
