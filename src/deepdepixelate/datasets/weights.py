"""Weights of networks and the histories of their training: trained, packaged and registered."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets.pandas import CSVDataset

from deepdepixelate.datasets.base import Content, ReadOnly

if TYPE_CHECKING:
    from deepdepixelate.models.weights import Weights


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


class _Packaged(ReadOnly[Content]):
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


class RegisteredWeights(ReadOnly["Weights"]):
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
