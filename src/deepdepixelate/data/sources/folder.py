"""Images of a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepdepixelate.data.sources.places import read_image, stamp_of
from deepdepixelate.locations import Location


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        path: of the folder; names are relative to it.
        stamps: of images, as far as they are known already. They are not pickled.
    """

    path: Location
    stamps: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageFolder, (self.path,)

    def read(self, name: str) -> bytes:
        return read_image(self.path / name)

    def stamp(self, name: str) -> str:
        return self.stamps.get(name) or stamp_of(self.path / name)
