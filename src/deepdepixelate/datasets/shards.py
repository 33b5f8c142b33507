"""Shards of images, and folders for a node's own files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset

from deepdepixelate.data import storage
from deepdepixelate.data.shards import MANIFEST, ShardedImages
from deepdepixelate.data.writing import DatasetPlan, write_dataset
from deepdepixelate.datasets.base import ReadOnly
from deepdepixelate.datasets.pictures import ImagePreview, contact_sheet
from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder
from deepdepixelate.locations import Location, location


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
        """A contact sheet for Kedro-Viz, of images spread evenly over the data set."""
        stored = ShardedImages(self._filepath)
        chosen = np.unique(np.linspace(0, len(stored) - 1, images).round().astype(int))
        return contact_sheet([stored[index] for index in chosen])


class ShardFolder(ReadOnly[Location]):
    """The folder or URL with the shards of all splits: loads its path."""

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = location(filepath)
        self.metadata = metadata

    def load(self) -> Location:
        return self._filepath

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class Folder(ReadOnly[Path]):
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
