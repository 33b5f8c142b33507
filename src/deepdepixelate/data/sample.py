"""The embedded sample: crops of the photographs in the scikit-image package."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from deepdepixelate.data.sources import SPLITS, FaceSource, Split


def open_sample(
    photographs: Mapping[Split, Sequence[str]], width: int, height: int, overlap: float
) -> FaceSource:
    """Cut photographs into crops, encoded as PNG, so that they are ingested as CelebA is.

    Each photograph is covered by evenly spaced, overlapping crops. They are named
    ``<photograph>_<row>_<column>.png``, and all are in the photograph's split.

    Args:
        photographs: file names in ``skimage.data`` for each split.
        width: of a crop, in pixels.
        height: of a crop, in pixels.
        overlap: least share of a crop's side that it has in common with its neighbour, below 1.
    """
    images: dict[str, bytes] = {}
    splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for file_name in photographs[split]:
            with Image.open(Path(skimage.__file__).parent / "data" / file_name) as photograph:
                pixels = np.asarray(photograph.convert("RGB"))
            for row, top in enumerate(_starts(pixels.shape[0], height, overlap)):
                for column, left in enumerate(_starts(pixels.shape[1], width, overlap)):
                    crop = Image.fromarray(pixels[top : top + height, left : left + width])
                    encoded = BytesIO()
                    crop.save(encoded, "PNG", compress_level=1)
                    name = f"{Path(file_name).stem}_{row}_{column}.png"
                    images[name] = encoded.getvalue()
                    splits[split].append(name)
    origin = {"dataset": "photographs of the scikit-image package", "path": None}
    return FaceSource(splits=splits, images=ImagesInMemory(images), origin=origin)


@dataclass(frozen=True)
class ImagesInMemory:
    """Encoded images by name."""

    images: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        return self.images[name]

    def stamp(self, name: str) -> str:
        return hashlib.sha256(self.images[name]).hexdigest()


def _starts(length: int, size: int, overlap: float) -> list[int]:
    """Evenly spaced starts of crops of ``size`` that cover ``length``."""
    room = length - size
    steps = max(0, -int(-room // (size * (1 - overlap))))
    return [round(room * index / steps) for index in range(steps + 1)] if steps else [0]
