"""Images of a folder."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deepdepixelate.data.sources.source import RejectedImageError

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        path: of the folder.
    """

    path: Path

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise RejectedImageError(f"cannot be read: {error.strerror}") from error

    def stamp(self, name: str) -> str:
        try:
            status = (self.path / name).stat()
        except OSError:
            return "cannot be read"
        return f"{status.st_size} {status.st_mtime_ns}"


def list_images(directory: Path) -> list[str]:
    """The names of the images in a folder; none if there is no folder."""
    if not directory.is_dir():
        return []
    return [path.name for path in directory.iterdir() if is_image_name(path.name)]


def is_image_name(path: str) -> bool:
    """Whether a path has the suffix of an image and is not hidden."""
    name = PurePosixPath(path)
    return name.suffix.lower() in _IMAGE_SUFFIXES and not name.name.startswith(".")
