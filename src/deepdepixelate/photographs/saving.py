"""Writing enlargements, in the format that a user wants."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write
from deepdepixelate.photographs import QUALITY, FormatName
from deepdepixelate.photographs.photograph import Photograph
from deepdepixelate.photographs.reading import over_white

_SUFFIXES: dict[FormatName, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class FileFormat:
    """How enlargements are written.

    Attributes:
        name: png, jpeg or webp.
        quality: 1 to 100, of jpeg and webp; png loses nothing.
        metadata: whether the photograph's EXIF and resolution are written too.
    """

    name: FormatName = "png"
    quality: int = QUALITY
    metadata: bool = True

    @property
    def suffix(self) -> str:
        """Ending of the files' names."""
        return _SUFFIXES[self.name]


def save_enlarged(
    original: Photograph, enlarged: Image.Image, path: Path, form: FileFormat
) -> tuple[str, ...]:
    """Write an enlargement, in the colour profile of the photograph that it is of.

    Returns:
        What a user should know about it.

    Raises:
        UserError: it cannot be written there, or is too large for the format.
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
            notes.append("what is transparent was laid over white: JPEG is opaque")
    if form.name == "webp" and icc_profile is not None and icc_profile[16:20] == b"GRAY":
        icc_profile = None
        notes.append("its gray colour profile was left out: WebP is in colour")
    try:
        with atomic_write(path) as file:
            enlarged.save(file, form.name.upper(), icc_profile=icc_profile, **settings)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    except ValueError as error:  # an encoder's
        raise UserError(
            f"{path} cannot be written as {form.name} ({str(error).rstrip('.')}): take another "
            "format, or leave the metadata out."
        ) from error
    return tuple(notes)
