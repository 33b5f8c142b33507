"""Images of a folder."""

from dataclasses import dataclass

from deepdepixelate.data.sources.places import read_image, stamp_of
from deepdepixelate.files import Location


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        path: of the folder; names are relative to it.
    """

    path: Location

    def read(self, name: str) -> bytes:
        return read_image(self.path / name)

    def stamp(self, name: str) -> str:
        return stamp_of(self.path / name)
