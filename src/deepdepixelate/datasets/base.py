"""What datasets that only read have in common."""

from typing import Any, NoReturn, TypeVar

from kedro.io import AbstractDataset, DatasetError

Content = TypeVar("Content")


class ReadOnly(AbstractDataset[Any, Content]):
    """A dataset that always exists and cannot be saved."""

    def save(self, data: Any) -> NoReturn:
        raise DatasetError(f"{type(self).__name__} is read-only")

    def _exists(self) -> bool:
        return True
