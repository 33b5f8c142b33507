"""What ``ingest`` reads: encoded images by name, each in one split."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

logger = logging.getLogger(__name__)

_LEFT_OUT_LISTED = 10_000

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


def describe_left_out(left_out: Sequence[Mapping[str, str]], place: object) -> dict[str, Any]:
    """What ``FaceSource.origin`` says about ignored files; logs a warning if there are any.

    Args:
        left_out: name and reason of each ignored file.
        place: of the source, for the warning.

    Returns:
        ``left_out`` with the first 10,000 of them and ``left_out_count``; empty if there are none.
    """
    if not left_out:
        return {}
    logger.warning(
        "%s: files ignored: %d, for example %s (%s); ingest_report.json lists them",
        place,
        len(left_out),
        left_out[0]["name"],
        left_out[0]["reason"],
    )
    return {"left_out_count": len(left_out), "left_out": list(left_out[:_LEFT_OUT_LISTED])}
