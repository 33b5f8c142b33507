"""Trained networks in the catalogue."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

if TYPE_CHECKING:
    from deepdepixelate.models.weights import Weights


class NetworkWeights(AbstractDataset["Weights", "Weights"]):
    """Weights as safetensors with architecture and provenance in the header; nothing unpickled."""

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> "Weights":
        from deepdepixelate.models.weights import load_weights

        return load_weights(self._filepath)

    def save(self, data: "Weights") -> None:
        from deepdepixelate.models.weights import save_weights

        save_weights(self._filepath, data)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
