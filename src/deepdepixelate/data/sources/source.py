"""What ``ingest`` reads: encoded images by name, each in one split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class RejectedImageError(Exception):
    """An image that cannot be used, with the reason."""


class EncodedImages(Protocol):
    """Encoded images by name. Pickled, it holds paths alone: another process opens the files."""

    def read(self, name: str) -> bytes:
        """The encoded bytes of an image, on any thread; RejectedImageError if damaged."""

    def stamp(self, name: str) -> str:
        """Changes with the image's content, as far as that shows without reading it.

        For example the size and the checksum in an archive's directory, or the size and the time of
        the last change of a file.
        """


@dataclass(frozen=True)
class FaceSource:
    """A set of encoded images, each in one split.

    Attributes:
        splits: the names of the images of each split, in order.
        images: the images.
        origin: describes the source in manifests and in the report; ``path`` may be None.
        missing: how many names of each split's list have no image.
        unlisted: how many images are in no split.
    """

    splits: Mapping[Split, Sequence[str]]
    images: EncodedImages
    origin: Mapping[str, Any]
    missing: Mapping[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    unlisted: int = 0
