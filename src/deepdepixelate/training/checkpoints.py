"""Checkpoints: whole or not there, and only ever continued by the same training.

Each training (its settings and data) has a folder of its own, named by the hash of its fingerprint,
so that a changed setting starts anew and never touches what an earlier training left.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write

logger = logging.getLogger(__name__)

FINGERPRINT = "fingerprint.json"
BEST = "best.pt"
KEPT = 2
"""Checkpoints that stay: the newest, and one before it should that turn out damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """A training after ``update`` updates, and everything that the next one depends on."""

    update: int
    state: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one training.

    Attributes:
        folder: where they are.
    """

    def __init__(self, directory: Path, fingerprint: Mapping[str, Any], kept: int = KEPT) -> None:
        """Choose the training's folder.

        Args:
            directory: of all trainings of this kind.
            fingerprint: every setting and data hash that decides the result, as JSON values.
            kept: how many of the newest checkpoints stay.
        """
        self._kept = kept
        self._fingerprint = json.dumps(dict(fingerprint), sort_keys=True, indent=1)
        digest = hashlib.sha256(self._fingerprint.encode()).hexdigest()
        self.folder = directory / digest[:12]

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint atomically, then remove all but the newest ones.

        Raises:
            UserError: the disk cannot take it; the earlier checkpoints are untouched.
        """
        path = self._write(checkpoint, f"update-{checkpoint.update:09d}.pt")
        for old in self._paths()[: -self._kept]:
            old.unlink()
        return path

    def save_best(self, checkpoint: Checkpoint) -> Path:
        """Write the checkpoint of the best validation, in place of the earlier best one."""
        return self._write(checkpoint, BEST)

    def _write(self, checkpoint: Checkpoint, name: str) -> Path:
        path = self.folder / name
        try:
            if not (self.folder / FINGERPRINT).exists():
                with atomic_write(self.folder / FINGERPRINT) as file:
                    file.write(self._fingerprint.encode())
            with atomic_write(path) as file:
                torch.save({"update": checkpoint.update, "state": checkpoint.state}, file)
        except (OSError, RuntimeError) as error:  # torch.save tells a full disk as RuntimeError
            raise UserError(
                f"the checkpoint {path} could not be written ({error}). Make room and run the same "
                "command again: it goes on from the last checkpoint."
            ) from error
        return path

    def updates_done(self) -> int:
        """The updates of the newest checkpoint, read or damaged; 0 if there is none."""
        return max((int(path.stem.removeprefix("update-")) for path in self._paths()), default=0)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read; a damaged one is named and put aside."""
        for leftover in self.folder.glob(".*.tmp"):  # of a write that a kill cut short
            leftover.unlink(missing_ok=True)
        for path in reversed(self._paths()):
            try:
                content = torch.load(path, map_location="cpu", weights_only=True)
                return Checkpoint(update=content["update"], state=content["state"])
            except (OSError, MemoryError) as error:
                raise UserError(
                    f"the checkpoint {path} cannot be read ({error}). Mend that and run the same "
                    "command again; nothing was changed."
                ) from error
            except Exception as error:  # whatever a damaged file makes torch.load raise
                aside = path.rename(path.with_suffix(".damaged"))
                logger.warning(
                    "The checkpoint %s is damaged (%s) and was put aside as %s.",
                    path,
                    repr(error).split(". ")[0].split("\\n")[0],
                    aside.name,
                )
        return None

    def differences(self) -> tuple[Path, dict[str, tuple[Any, Any]]] | None:
        """How this training differs from the newest other one of its kind, if there is one.

        Returns:
            The other one's folder, and each setting that differs with its old and new value.
        """
        others = [
            path
            for path in self.folder.parent.glob(f"*/{FINGERPRINT}")
            if path.parent != self.folder
        ]
        if not others:
            return None
        newest = max(others, key=lambda path: path.stat().st_mtime)
        old, new = _flatten(json.loads(newest.read_text())), _flatten(json.loads(self._fingerprint))
        return newest.parent, {
            name: (old.get(name), new.get(name))
            for name in sorted(old | new)
            if old.get(name) != new.get(name)
        }

    def clear(self) -> None:
        """Remove this training's checkpoints, to begin it anew."""
        for path in [*self._paths(), *self.folder.glob("*.damaged"), self.folder / BEST]:
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("update-*.pt"))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
