"""Image shards in the catalogue."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

if TYPE_CHECKING:
    from deepdepixelate.data.shards import ImageStream, ShardedImages


class ImageShards(AbstractDataset["ImageStream", "ShardedImages"]):
    """Images of one size and split; see ``deepdepixelate.data.shards`` for the format.

    Saving takes an ImageStream and writes as it is made; loading gives ShardedImages. It exists
    when its manifest does, which is written last: a half-written one does not.
    """

    def __init__(
        self,
        *,
        filepath: str,
        split: str,
        images_per_shard: int,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._filepath = Path(filepath)
        self._split = split
        self._images_per_shard = images_per_shard
        self.metadata = metadata

    def load(self) -> "ShardedImages":
        from deepdepixelate.data.shards import ShardedImages

        return ShardedImages(self._filepath)

    def save(self, data: "ImageStream") -> None:
        from deepdepixelate.data.shards import write_shards

        write_shards(
            self._filepath, data, split=self._split, images_per_shard=self._images_per_shard
        )

    def _exists(self) -> bool:
        from deepdepixelate.data.shards import MANIFEST

        return (self._filepath / MANIFEST).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "split": self._split}
