"""What the package carries: the generators in the box, and how they were trained."""

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

if TYPE_CHECKING:
    from deepdepixelate.models.weights import Weights

Content = TypeVar("Content")


class _Packaged(AbstractDataset[Content, Content]):
    def __init__(self, *, name: str, metadata: Mapping[str, Any] | None = None) -> None:
        """Say which.

        Args:
            name: srresnet or srgan for weights; pretrain or train_gan for histories.
            metadata: for Kedro-Viz.
        """
        self._name = name
        self.metadata = metadata

    def save(self, data: Content) -> NoReturn:
        raise DatasetError("what the package carries is only read")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name}


class PackagedWeights(_Packaged["Weights"]):
    """A generator's weights."""

    def load(self) -> "Weights":
        from deepdepixelate.models.pretrained import find_generator

        return find_generator(self._name)


class PackagedHistory(_Packaged[pd.DataFrame]):
    """The history of the training that made one of them."""

    def load(self) -> pd.DataFrame:
        place = files("deepdepixelate") / "models" / "pretrained" / f"{self._name}_history.csv"
        with place.open("rb") as file:
            return pd.read_csv(file)
