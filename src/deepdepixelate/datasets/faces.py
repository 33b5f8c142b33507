"""Sources of encoded faces."""

from collections.abc import Mapping, Sequence
from typing import Any

from deepdepixelate.data.sources import (
    FaceSource,
    Split,
    check_celeba,
    check_faces,
    open_celeba,
    open_faces,
)
from deepdepixelate.datasets.base import ReadOnly
from deepdepixelate.locations import location
from deepdepixelate.parameters import SplitParameters


class CelebAFaces(ReadOnly[FaceSource]):
    """CelebA's aligned faces in the official splits; see ``open_celeba``.

    It always exists; ``check`` and loading report what is missing and where to get it.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = location(filepath)
        self.metadata = metadata

    def load(self) -> FaceSource:
        return open_celeba(self._filepath)

    def check(self) -> None:
        """Raise UserError if images or list are missing; called before a run."""
        check_celeba(self._filepath)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class OwnFaces(ReadOnly[FaceSource]):
    """The images of a folder and its sub-folders; see ``open_faces``.

    It always exists; ``check`` and loading report a missing or empty folder.
    """

    def __init__(
        self,
        *,
        filepath: str,
        split: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._filepath = location(filepath)
        self._split = SplitParameters.model_validate(split)
        self.metadata = metadata

    def load(self) -> FaceSource:
        return open_faces(self._filepath, self._split)

    def check(self) -> None:
        """Raise UserError if a split has no image; called before a run."""
        check_faces(self._filepath, self._split)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "split": self._split.model_dump()}


class SampleFaces(ReadOnly[FaceSource]):
    """Crops of the photographs in the scikit-image package; see ``open_sample``."""

    def __init__(
        self,
        *,
        photographs: Mapping[Split, Sequence[str]],
        width: int,
        height: int,
        overlap: float,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {
            "photographs": photographs,
            "width": width,
            "height": height,
            "overlap": overlap,
        }
        self.metadata = metadata

    def load(self) -> FaceSource:
        from deepdepixelate.data.sample import open_sample

        return open_sample(**self._arguments)

    def _describe(self) -> dict[str, Any]:
        return self._arguments
