"""A folder that a node works in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class Folder(AbstractDataset[None, Path]):
    """Gives a node the path of a folder, made if missing: for checkpoints, which only it reads."""

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        self._filepath.mkdir(parents=True, exist_ok=True)
        return self._filepath

    def save(self, data: None) -> NoReturn:
        raise DatasetError("a folder is worked in, not saved")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
