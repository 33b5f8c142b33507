"""Kedro datasets that kedro-datasets lacks.

Kedro and its plugins open every catalogue entry at each start, so PyTorch is imported only when
weights are loaded or saved.
"""

import base64
import math
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NewType, NoReturn, TypeVar

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.pillow import ImageDataset
from PIL import Image, ImageOps

from deepdepixelate.data import storage
from deepdepixelate.data.shards import MANIFEST, ShardedImages
from deepdepixelate.data.sources import (
    FaceSource,
    Split,
    check_celeba,
    check_faces,
    open_celeba,
    open_faces,
)
from deepdepixelate.data.writing import DatasetPlan, write_dataset
from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder
from deepdepixelate.locations import Location, location
from deepdepixelate.parameters import SplitParameters

if TYPE_CHECKING:
    from deepdepixelate.models.weights import Weights

Content = TypeVar("Content")
ImagePreview = NewType("ImagePreview", str)

_FRAME = 458 / 300  # width to height of Kedro-Viz's panel, which stretches a preview to fill it
_SHEET = 720  # greatest width of a contact sheet, in pixels


class _ReadOnly(AbstractDataset[Any, Content]):
    """A dataset that always exists and cannot be saved."""

    def save(self, data: Any) -> NoReturn:
        raise DatasetError(f"{type(self).__name__} is read-only")

    def _exists(self) -> bool:
        return True


class CelebAFaces(_ReadOnly[FaceSource]):
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


class OwnFaces(_ReadOnly[FaceSource]):
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


class SampleFaces(_ReadOnly[FaceSource]):
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


class ImageShards(AbstractDataset[DatasetPlan, ShardedImages]):
    """Images of one size and split, in the format of ``deepdepixelate.data.shards``.

    Saving carries out a DatasetPlan; loads ShardedImages. It exists if its manifest exists.
    """

    def __init__(
        self,
        *,
        filepath: str,
        split: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._filepath = location(filepath)
        self._split = split
        self.metadata = metadata

    def load(self) -> ShardedImages:
        return ShardedImages(self._filepath)

    def save(self, data: DatasetPlan) -> None:
        write_dataset(self._filepath, data, split=self._split)

    def _exists(self) -> bool:
        return storage.size_of(self._filepath / MANIFEST) is not None

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "split": self._split}

    def preview(self, images: int = 8) -> ImagePreview:
        """A contact sheet for Kedro-Viz, of images spread evenly over the data set.

        Small images are enlarged by a whole factor without smoothing, so that their pixels show.
        """
        stored = ShardedImages(self._filepath)
        chosen = np.unique(np.linspace(0, len(stored) - 1, images).round().astype(int))
        height, width, _ = stored.manifest.shape
        columns = max(1, round(math.sqrt(len(chosen) * _FRAME * height / width)))
        rows = math.ceil(len(chosen) / columns)
        gap = max(1, width // 40)
        right, down = width + gap, height + gap
        sheet = Image.new("RGBA", (columns * right - gap, rows * down - gap))
        for place, index in enumerate(chosen):
            row, column = divmod(place, columns)
            sheet.paste(Image.fromarray(stored[index]), (column * right, row * down))
        scale = _SHEET / sheet.width
        if scale < 1:
            return _framed(ImageOps.scale(sheet, scale))
        return _framed(ImageOps.scale(sheet, int(scale), Image.Resampling.NEAREST))


class ShardFolder(_ReadOnly[Location]):
    """The folder or URL with the shards of all splits: loads its path."""

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = location(filepath)
        self.metadata = metadata

    def load(self) -> Location:
        return self._filepath

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class Folder(_ReadOnly[Path]):
    """A folder for a node's own files, such as checkpoints: loads its path.

    Loading creates the folder, and raises UserError if it cannot be written to.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = location(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        if not isinstance(self._filepath, Path):
            raise UserError(f"{self._filepath} is a URL: name a folder on this machine instead.")
        make_folder(self._filepath)
        if not os.access(self._filepath, os.W_OK | os.X_OK):
            raise UserError(f"{self._filepath} cannot be written to: mend its permissions.")
        return self._filepath

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class NetworkWeights(AbstractDataset["Weights", "Weights"]):
    """Weights of a network as safetensors, with architecture and provenance in the header.

    Saving keeps a generator's file that may be better; see ``keep_previous``.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> "Weights":
        from deepdepixelate.models.weights import load_weights

        return load_weights(self._filepath)

    def save(self, data: "Weights") -> None:
        from deepdepixelate.models.weights import keep_previous, save_weights

        keep_previous(self._filepath, data)
        save_weights(self._filepath, data)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class _Packaged(_ReadOnly[Content]):
    def __init__(self, *, name: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._name = name
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name}


class PackagedWeights(_Packaged["Weights"]):
    """A generator of the package; ``name`` is srresnet, srgan or photo."""

    def load(self) -> "Weights":
        from deepdepixelate.models.pretrained import find_generator

        return find_generator(self._name)


class RegisteredWeights(_ReadOnly["Weights"]):
    """A generator of MLflow's registry, downloaded once: all nodes of a run get one version.

    Args:
        generator: srresnet or srgan.
        dataset: the name of the data that it was trained on.
        model: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; None for the newest version of
            the generator that was trained on the data.
    """

    def __init__(
        self,
        *,
        generator: str,
        dataset: str,
        model: str | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._generator, self._dataset, self._model = generator, dataset, model
        self._weights: Weights | None = None
        self.metadata = metadata

    def load(self) -> "Weights":
        from deepdepixelate.tracking.registry import find_registered, registered_name

        if self._weights is None:
            newest = f"models:/{registered_name(self._generator, self._dataset)}@latest"
            self._weights = find_registered(self._model or newest)
        return self._weights

    def check(self) -> None:
        """Raise UserError if there is no such model; called before a run."""
        self.load()

    def _describe(self) -> dict[str, Any]:
        return {"generator": self._generator, "dataset": self._dataset, "model": self._model}


class PackagedHistory(_Packaged[pd.DataFrame]):
    """The training history of a generator of the package; ``name`` is pretrain or train_gan."""

    def load(self) -> pd.DataFrame:
        place = files("deepdepixelate.models.pretrained") / f"{self._name}_history.csv"
        with place.open("rb") as file:
            return pd.read_csv(file)


class History(CSVDataset):
    """``pandas.CSVDataset`` that loads an empty table if the file is missing.

    Weights can be evaluated without the history of their training.
    """

    optional = True

    def load(self) -> pd.DataFrame:
        if not self._exists():
            return pd.DataFrame()
        loaded: pd.DataFrame = super().load()
        return loaded


class Picture(ImageDataset):
    """``pillow.ImageDataset`` with a preview for Kedro-Viz."""

    def preview(self, height: int | None = None) -> ImagePreview:
        """The picture, or its upper part.

        Args:
            height: in pixels, how much of the picture is shown, from its top; None for all of it.
        """
        picture: Image.Image = self.load.__wrapped__(self)  # without Kedro's log message
        shown = min(height or picture.height, picture.height)
        return _framed(picture.crop((0, 0, picture.width, shown)))


def _framed(image: Image.Image) -> ImagePreview:
    """An image as a PNG in base64, in a transparent frame of the panel's proportions."""
    width = max(image.width, round(image.height * _FRAME))
    frame = Image.new("RGBA", (width, max(image.height, round(width / _FRAME))))
    frame.paste(image, ((frame.width - image.width) // 2, (frame.height - image.height) // 2))
    file = BytesIO()
    frame.save(file, "PNG")
    return ImagePreview(base64.b64encode(file.getvalue()).decode())
