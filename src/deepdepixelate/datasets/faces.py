"""Where faces enter: the CelebA archive, and the embedded sample that needs no download."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from deepdepixelate.files import user_path

if TYPE_CHECKING:
    from deepdepixelate.data.sources import FaceSource, Split


class _ReadOnlyFaces(AbstractDataset[None, "FaceSource"]):
    def save(self, data: None) -> NoReturn:
        raise DatasetError("faces are only read")


class CelebAFaces(_ReadOnlyFaces):
    """CelebA's aligned faces, read in place, in the official splits.

    ``filepath`` is the folder that holds ``img_align_celeba.zip`` (or the images themselves) and
    ``list_eval_partition.txt``.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = user_path(filepath)
        self.metadata = metadata

    def load(self) -> "FaceSource":
        from deepdepixelate.data.sources import open_celeba

        return open_celeba(self._filepath)

    def _exists(self) -> bool:
        return True  # loading says what is missing and where to get it

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class SampleFaces(_ReadOnlyFaces):
    """Crops of the photographs inside the scikit-image package, as if they were CelebA's faces.

    Each photograph is covered by evenly spread, overlapping crops and belongs to one split, so that
    no photograph is in two. Crops are named ``<photograph>_<row>_<column>.png`` and come encoded
    (losslessly), so that everything downstream runs as it does on CelebA.

    Attributes of the catalogue entry:
        photographs: per split the names of photographs as in ``skimage.data``, with their suffix.
        width, height: size of a crop in pixels.
        overlap: share of a crop's side that neighbouring crops have in common at least, below 1.
    """

    def __init__(
        self,
        *,
        photographs: "Mapping[Split, Sequence[str]]",
        width: int,
        height: int,
        overlap: float,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._photographs = photographs
        self._width = width
        self._height = height
        self._overlap = overlap
        self.metadata = metadata

    def load(self) -> "FaceSource":
        import numpy as np
        from PIL import Image

        from deepdepixelate.data.sources import SPLITS, FaceSource

        images: dict[str, bytes] = {}
        splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
        for split in SPLITS:
            for file_name in self._photographs[split]:
                with Image.open(_photograph(file_name)) as photograph:
                    pixels = np.asarray(photograph.convert("RGB"))
                stem = Path(file_name).stem
                for row, top in enumerate(self._positions(pixels.shape[0], self._height)):
                    for column, left in enumerate(self._positions(pixels.shape[1], self._width)):
                        crop = pixels[top : top + self._height, left : left + self._width]
                        encoded = BytesIO()
                        Image.fromarray(crop).save(encoded, "PNG", compress_level=1)
                        name = f"{stem}_{row}_{column}.png"
                        images[name] = encoded.getvalue()
                        splits[split].append(name)
        origin = {"dataset": "photographs of the scikit-image package", "path": None}
        return FaceSource(splits=splits, read=images.__getitem__, origin=origin)

    def _exists(self) -> bool:
        return True

    def _positions(self, length: int, size: int) -> list[int]:
        """Evenly spread starts of crops of ``size`` that cover ``length``, overlapping enough."""
        room = length - size
        step = size * (1 - self._overlap)
        steps = max(0, -int(-room // step))
        return [round(room * index / steps) for index in range(steps + 1)] if steps else [0]

    def _describe(self) -> dict[str, Any]:
        return {"photographs": dict(self._photographs), "size": (self._width, self._height)}


def _photograph(name: str) -> Path:
    import skimage

    return Path(skimage.__file__).parent / "data" / name
