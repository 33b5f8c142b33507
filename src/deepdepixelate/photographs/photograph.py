"""A user's photograph: reading it, and writing its enlargement with all that should be kept."""

import errno
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from scipy.ndimage import distance_transform_edt

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write
from deepdepixelate.photographs import QUALITY, FormatName, UnreadableImageError
from deepdepixelate.photographs.reading import DAMAGE, opened, over_white, upright

SMALLEST = 4
"""Least width and height of a photograph, in pixels."""

_MAIN_IMAGE_FIRST = frozenset({"MPO", "PSD", "HEIF"})
"""Formats whose other frames are views, layers or previews of the first: MPO is a camera's JPEG."""

_SUFFIXES: dict[FormatName, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}

_LARGEST_SIDES: dict[FormatName, int] = {"jpeg": 65_500, "webp": 16_383}
"""Limits of Pillow's encoders, in pixels."""

_Tags = dict[int, Any]

_KEPT_TAGS = (
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model),
    *(ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist),
    *(ExifTags.Base.HostComputer, ExifTags.Base.Rating, ExifTags.Base.RatingPercent),
    *(ExifTags.Base.Copyright, ExifTags.Base.XPTitle, ExifTags.Base.XPComment),
    *(ExifTags.Base.XPAuthor, ExifTags.Base.XPKeywords, ExifTags.Base.XPSubject),
)
"""EXIF tags that describe the photograph. The others describe the layout of the file (in TIFF, both
are in one list), or are the orientation, which no longer applies."""

_PER_INCH = 2


@dataclass(frozen=True)
class Metadata:
    """EXIF and resolution.

    Attributes:
        tags: of EXIF's first directory, including its parts for the camera and for GPS.
        dpi: horizontal and vertical pixels per inch, if the file has them.
    """

    tags: _Tags = field(default_factory=dict)
    dpi: tuple[float, float] | None = None

    def for_saving(self, width: int, height: int) -> dict[str, Any]:
        """Arguments of ``Image.save`` that write this metadata with an image of this size."""
        settings: dict[str, Any] = {}
        tags = dict(self.tags)
        if self.dpi is not None:
            settings["dpi"] = self.dpi
            tags[ExifTags.Base.XResolution], tags[ExifTags.Base.YResolution] = self.dpi
            tags[ExifTags.Base.ResolutionUnit] = _PER_INCH
        camera = dict(tags.get(ExifTags.IFD.Exif, {}))
        if ExifTags.Base.ExifImageWidth in camera:
            camera[ExifTags.Base.ExifImageWidth] = width
            camera[ExifTags.Base.ExifImageHeight] = height
            tags[ExifTags.IFD.Exif] = camera
        if tags:
            settings["exif"] = _exif_bytes(tags)
        return settings


@dataclass(frozen=True)
class Photograph:
    """An upright image, and what its enlargement should have in common with it.

    Attributes:
        pixels: uint8 RGB (H, W, 3). Transparent pixels have the colour of their neighbours.
        alpha: mode L; None if the image is opaque.
        gray: whether the file has no colour.
        icc_profile: colour profile of the pixels, if the file has one.
        notes: what was converted, for the user.
        metadata: EXIF and resolution.
    """

    pixels: NDArray[np.uint8]
    alpha: Image.Image | None
    gray: bool
    icc_profile: bytes | None
    notes: tuple[str, ...]
    metadata: Metadata = field(default_factory=Metadata)

    def finish(self, enlarged: Image.Image) -> Image.Image:
        """Make an enlargement, in RGB, gray or transparent like the photograph."""
        finished = enlarged.convert("L") if self.gray else enlarged
        if self.alpha is not None:
            finished.putalpha(self.alpha.resize(enlarged.size, Image.Resampling.BICUBIC))
        return finished


@dataclass(frozen=True)
class FileFormat:
    """How enlargements are written.

    Attributes:
        name: png, jpeg or webp.
        quality: 1 to 100, for jpeg and webp; png is lossless.
        metadata: whether EXIF and resolution are written.
    """

    name: FormatName = "png"
    quality: int = QUALITY
    metadata: bool = True

    @property
    def suffix(self) -> str:
        """Suffix of the files."""
        return _SUFFIXES[self.name]

    def check_size(self, width: int, height: int) -> None:
        """Check that an image of this size can be written.

        Raises:
            UserError: it is too large for the format.
        """
        limit = _LARGEST_SIDES.get(self.name)
        if limit is not None and max(width, height) > limit:
            raise UserError(
                f"its enlargement of {width}x{height} pixels cannot be written as {self.name}, "
                f"which has at most {limit} per side: choose another format."
            )


def read_photograph(source: Path | IO[bytes], *, max_pixels: int) -> Photograph:
    """Read a photograph, turned as its EXIF orientation says.

    Args:
        source: path, or a file open for reading.
        max_pixels: larger photographs are refused before they are decoded.

    Raises:
        UnreadableImageError: the file is not an image, damaged, animated, too small or too large,
            or does not define the range of its values.
    """
    if isinstance(source, Path):
        try:
            if source.exists() and not source.is_file():  # reading a pipe would block
                raise UnreadableImageError("not a file")
            with source.open("rb") as file:
                return read_photograph(file, max_pixels=max_pixels)
        except OSError as error:
            raise UnreadableImageError(f"cannot be read: {error.strerror or error}") from error
    with opened(source, max_pixels=max_pixels) as image:
        _check(image)
        found = upright(image, max_pixels=max_pixels)
        metadata, notes = _read_metadata(image)
    if found.quarter_turn and metadata.dpi is not None:
        metadata = replace(metadata, dpi=metadata.dpi[::-1])
    rgb, alpha = np.asarray(found.image.convert("RGB")), None
    if found.image.mode.endswith("A"):
        alpha = found.image.getchannel("A")
        rgb = _bleed(rgb, np.asarray(alpha))
    gray = found.image.mode in ("L", "LA")
    return Photograph(rgb, alpha, gray, found.icc_profile, (*found.notes, *notes), metadata)


def save_enlarged(
    original: Photograph, enlarged: Image.Image, path: Path, form: FileFormat
) -> tuple[str, ...]:
    """Write an enlargement with the photograph's colour profile and, if wanted, its metadata.

    Returns:
        What was converted or left out, for the user.

    Raises:
        UserError: the file cannot be written, or the image is too large for the format.
    """
    notes = []
    icc_profile = original.icc_profile
    settings = original.metadata.for_saving(*enlarged.size) if form.metadata else {}
    if form.name != "png":
        settings["quality"] = form.quality
    if form.name == "jpeg":
        settings["subsampling"] = "4:4:4"
        if original.alpha is not None:
            enlarged = over_white(enlarged)
            notes.append("its transparent areas were laid over white: JPEG has no alpha")
    if form.name == "webp" and icc_profile is not None and icc_profile[16:20] == b"GRAY":
        icc_profile = None
        notes.append("its gray colour profile was left out: WebP is always RGB")
    try:
        with atomic_write(path) as file:
            enlarged.save(file, form.name.upper(), icc_profile=icc_profile, **settings)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "; free disk space, and run the same again" if full else ""
        raise UserError(f"{path} cannot be written: {error.strerror or error}{remedy}.") from error
    except ValueError as error:  # from an encoder
        raise UserError(
            f"{path} cannot be written as {form.name} ({str(error).rstrip('.')}): choose another "
            "format, or leave the metadata out."
        ) from error
    return tuple(notes)


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
    """Give fully transparent pixels the colour of the nearest pixel that is not.

    Their own colour is arbitrary, mostly black. It is in the receptive field of the pixels beside
    them, and would show as a dark fringe.
    """
    hidden = alpha == 0
    if hidden.all() or not hidden.any():
        return pixels
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    bled: NDArray[np.uint8] = pixels[rows, columns]
    return bled


def _read_metadata(image: Image.Image) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of an opened image, and notes for the user; damaged EXIF is left out."""
    try:
        exif = image.getexif()
        tags: _Tags = {tag: exif[tag] for tag in _KEPT_TAGS if tag in exif}
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if found := dict(exif.get_ifd(part)):
                found.pop(ExifTags.IFD.Interop, None)  # an offset in the old file
                tags[part] = found
        _exif_bytes(tags)
    except DAMAGE as error:
        return Metadata(), (f"its EXIF is damaged and was left out ({error})",)
    return Metadata(tags, _dpi(image.info.get("dpi"))), ()


def _exif_bytes(tags: _Tags) -> bytes:
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = _encoded(value)
    return exif.tobytes()


def _encoded(value: Any) -> Any:
    """Text as bytes: Pillow reads it as Latin-1, and would write ``?`` for what is not ASCII."""
    if isinstance(value, dict):
        return {tag: _encoded(each) for tag, each in value.items()}
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1", "replace")
    return value


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(each) for each in value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    # Pillow gives 1 for a TIFF file without a resolution, and JPEG holds no more than 16 bits.
    if not all(math.isfinite(each) and 1 < each < 1 << 16 for each in (across, down)):
        return None
    return across, down
