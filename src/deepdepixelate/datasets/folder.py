"""A folder that a node works in."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder


class Folder(AbstractDataset[None, Path]):
    """Gives a node the path of a folder, made if missing: for checkpoints, which only it reads.

    A folder that cannot be written to raises an error now, not at the first checkpoint.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        make_folder(self._filepath)
        if not os.access(self._filepath, os.W_OK | os.X_OK):
            raise UserError(f"{self._filepath} cannot be written to: mend its permissions.")
        return self._filepath

    def save(self, data: None) -> NoReturn:
        raise DatasetError("a folder is worked in, not saved")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
