"""Compare all stored shards with their manifests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepdepixelate.data import storage
from deepdepixelate.data.shards import (
    ImagePairs,
    Shard,
    ShardedImages,
    matches,
    read_manifest,
)
from deepdepixelate.data.sources import SPLITS
from deepdepixelate.errors import UserError
from deepdepixelate.locations import Location
from deepdepixelate.parallel import Engine


def verify(folder: Location, engine: Engine) -> dict[str, Any]:
    """Read every shard of every dataset.

    Args:
        folder: with the datasets ``hr/train``, ``lr/train`` and so on.
        engine: reads the shards.

    Returns:
        For each dataset: ``shards``, how many; ``damaged``, the files that are missing or differ
        from the manifest; ``problem``, in words, if the dataset cannot be used at all, else None.
    """
    report: dict[str, Any] = {}
    for kind in ("hr", "lr"):
        for split in SPLITS:
            report[f"{kind}/{split}"] = _verify(storage.absolute(folder) / kind / split, engine)
    for split in SPLITS:
        found = report[f"lr/{split}"]
        if not any(_is_bad(report[f"{kind}/{split}"]) for kind in ("hr", "lr")):
            try:
                ImagePairs(*(ShardedImages(folder / kind / split) for kind in ("hr", "lr")))
            except UserError as error:
                found["problem"] = str(error)
    return report


def _verify(directory: Location, engine: Engine) -> dict[str, Any]:
    try:
        manifest = read_manifest(directory)
    except UserError as error:
        return {"shards": 0, "damaged": [], "problem": str(error)}
    intact = engine.map(_Matches(directory, manifest.shape), manifest.shards)
    damaged = [shard.file for shard, good in zip(manifest.shards, intact, strict=True) if not good]
    return {"shards": len(manifest.shards), "damaged": damaged, "problem": None}


@dataclass(frozen=True)
class _Matches:
    directory: Location
    shape: tuple[int, int, int]

    def __call__(self, shard: Shard) -> bool:
        return matches(self.directory / shard.file, shard, self.shape)


def require_intact(report: Mapping[str, Any]) -> None:
    """Raise UserError if ``verify`` found anything; names all of it and the remedy."""
    lines = [
        f"  - {name}: {found['problem'] or ', '.join(found['damaged'])}"
        for name, found in report.items()
        if _is_bad(found)
    ]
    if lines:
        raise UserError(
            "these shards are damaged or missing:\n"
            + "\n".join(lines)
            + "\nThis makes them again and keeps the others: kedro run --pipelines ingest,degrade "
            "(with the same --env and --params)"
        )


def _is_bad(found: Mapping[str, Any]) -> bool:
    return bool(found["damaged"] or found["problem"])
