"""What a file says of its photograph besides the pixels."""

import math
from dataclasses import dataclass, field
from typing import Any

from PIL import ExifTags, Image

from deepdepixelate.photographs.decoding import DAMAGE

_Tags = dict[int, Any]

_KEPT = (
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model),
    *(ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist),
    *(ExifTags.Base.HostComputer, ExifTags.Base.Rating, ExifTags.Base.RatingPercent),
    *(ExifTags.Base.Copyright, ExifTags.Base.XPTitle, ExifTags.Base.XPComment),
    *(ExifTags.Base.XPAuthor, ExifTags.Base.XPKeywords, ExifTags.Base.XPSubject),
)
"""Tags that tell of the photograph. The others tell how a file is laid out (TIFF has them among
these), or are the orientation, which is 1 once the pixels are turned."""

_PER_INCH = 2


@dataclass(frozen=True)
class Metadata:
    """EXIF and resolution.

    Attributes:
        tags: of EXIF's first directory, its parts for the camera and for GPS among them.
        dpi: pixels an inch, across and down; None if the file names none.
    """

    tags: _Tags = field(default_factory=dict)
    dpi: tuple[float, float] | None = None

    def for_saving(self, width: int, height: int) -> dict[str, Any]:
        """Pillow's settings for a file of these pixels, EXIF and resolution among them."""
        settings: dict[str, Any] = {}
        tags = dict(self.tags)
        if self.dpi is not None:
            settings["dpi"] = self.dpi
            tags[ExifTags.Base.XResolution], tags[ExifTags.Base.YResolution] = self.dpi
            tags[ExifTags.Base.ResolutionUnit] = _PER_INCH
        if (camera := dict(tags.get(ExifTags.IFD.Exif, {}))) and (
            ExifTags.Base.ExifImageWidth in camera
        ):
            camera[ExifTags.Base.ExifImageWidth] = width
            camera[ExifTags.Base.ExifImageHeight] = height
            tags[ExifTags.IFD.Exif] = camera
        if tags:
            settings["exif"] = _written(tags)
        return settings


def read_metadata(image: Image.Image) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of an image that was opened, and what to tell of it.

    Metadata that is damaged is left out, not an error: the pixels are what matters.
    """
    try:
        exif = image.getexif()
        tags: _Tags = {tag: exif[tag] for tag in _KEPT if tag in exif}
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if found := dict(exif.get_ifd(part)):
                found.pop(ExifTags.IFD.Interop, None)  # a place in the old file
                tags[part] = found
        _written(tags)
    except DAMAGE as error:
        return Metadata(), (f"its EXIF is damaged and was left out ({error})",)
    return Metadata(tags, _dpi(image.info.get("dpi"))), ()


def _written(tags: _Tags) -> bytes:
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = _as_bytes(value)
    return exif.tobytes()


def _as_bytes(value: Any) -> Any:
    """Text as it came: Pillow reads it as Latin-1, and would write ``?`` for what is not ASCII."""
    if isinstance(value, dict):
        return {tag: _as_bytes(each) for tag, each in value.items()}
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1", "replace")
    return value


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(each) for each in value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    # Pillow says 1 of a TIFF file that says nothing, and JPEG holds no more than 16 bits.
    if not all(math.isfinite(each) and 1 < each < 1 << 16 for each in (across, down)):
        return None
    return across, down
