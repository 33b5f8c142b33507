"""Checkpoints: whole or not there, and only ever continued by the same training.

Each training (its settings and data, see ``fingerprint``) has a folder of its own. A changed
setting trains from scratch and never touches what an earlier training left. If an earlier training
made the same first updates, a training resumes from there, in its own folder.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write
from deepdepixelate.training.fingerprint import flatten, same_beginning, same_training

logger = logging.getLogger(__name__)

FINGERPRINT = "fingerprint.json"
KEPT = 2
"""Checkpoints that stay: the newest, and one before it should that turn out damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """A training after ``update`` updates, and everything that the next one depends on.

    Attributes:
        path: the file that it was read from.
    """

    update: int
    state: dict[str, Any]
    path: Path | None = None


class CheckpointStore:
    """The checkpoints of one training.

    Attributes:
        folder: where they are.
    """

    def __init__(
        self,
        directory: Path,
        fingerprint: Mapping[str, Any],
        kept: int = KEPT,
        restart: str | None = None,
    ) -> None:
        """Find the training's folder, or name a new one.

        Args:
            directory: of all trainings of this kind.
            fingerprint: every setting and data hash that decides the result, as JSON values.
            kept: how many of the newest checkpoints stay.
            restart: the setting that makes this training start from scratch, as a user writes it;
                None if it resumes.
        """
        self._directory = directory
        self._kept = kept
        self._restart = restart
        content = json.dumps(dict(fingerprint), sort_keys=True, indent=1)
        self._fingerprint: dict[str, Any] = json.loads(content)
        name = hashlib.sha256(content.encode()).hexdigest()[:12]
        same = [
            folder
            for folder, other in self._fingerprints()
            if same_training(other, self._fingerprint)
        ]
        self.folder = max(same, key=_newest_update, default=directory / name)

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint atomically, then remove all but the newest ones.

        Raises:
            UserError: the disk cannot take it; the earlier checkpoints are untouched.
        """
        path = self.folder / f"update-{checkpoint.update:09d}.pt"
        try:
            if not (self.folder / FINGERPRINT).exists():
                with atomic_write(self.folder / FINGERPRINT) as file:
                    file.write(json.dumps(self._fingerprint, sort_keys=True, indent=1).encode())
            with atomic_write(path) as file:
                torch.save({"update": checkpoint.update, "state": checkpoint.state}, file)
            for old in _paths(self.folder)[: -self._kept]:
                old.unlink()
        except (OSError, RuntimeError) as error:  # torch.save tells a full disk as RuntimeError
            if isinstance(error, RuntimeError) and not isinstance(error.__context__, OSError):
                raise
            raise UserError(
                f"the checkpoint {path} could not be written ({error.__context__ or error}). Make "
                f"room or mend the permissions. {self.way_on()}"
            ) from error
        return path

    def newest_update(self) -> int:
        """The update of the newest checkpoint in the folder, read or not; 0 if there is none."""
        return _newest_update(self.folder)

    def way_on(self) -> str:
        """How to go on from what is there: the end of a message that a training broke off."""
        without = f" without {self._restart}, which begins anew" if self._restart else ""
        if newest := self.newest_update():
            return f"Run the same command again{without}: it goes on from update {newest}."
        return "Run the same command again; this training has no checkpoint yet."

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read; a damaged one is named and put aside.

        Where this training has none, that of an earlier training whose updates so far are the
        first of this one.

        Raises:
            UserError: there is one, and it cannot be read for now.
        """
        for leftover in self.folder.glob(".*.tmp"):  # of a write that a kill cut short
            leftover.unlink(missing_ok=True)
        paths = _paths(self.folder)
        if not paths and self._restart is None:
            paths = self._beginnings()
        for path in reversed(paths):
            try:
                return self.read(path)
            except UserError:
                raise
            except Exception as error:  # whatever a damaged file makes torch.load raise
                aside = path.rename(path.with_suffix(".damaged"))
                logger.warning(
                    "The checkpoint %s is damaged (%s) and was put aside as %s.",
                    path,
                    repr(error).split(". ")[0].split("\\n")[0],
                    aside.name,
                )
        return None

    def read(self, path: Path) -> Checkpoint:
        """A checkpoint that is there.

        Raises:
            UserError: it cannot be read for now.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, MemoryError) as error:
            raise UserError(
                f"the checkpoint {path} cannot be read ({error}). Mend that and run the same "
                "command again; nothing was changed."
            ) from error
        return Checkpoint(content["update"], content["state"], path)

    def differences(self) -> tuple[Path, dict[str, tuple[Any, Any]]] | None:
        """How this training differs from the newest other one of its kind, if there is one.

        Returns:
            The other one's folder, and each setting that differs with its old and new value.
        """
        others = [each for each in self._fingerprints() if each[0] != self.folder]
        if not others:
            return None
        folder, fingerprint = max(others, key=lambda each: (each[0] / FINGERPRINT).stat().st_mtime)
        old, new = flatten(fingerprint), flatten(self._fingerprint)
        return folder, {
            name: (old.get(name), new.get(name))
            for name in sorted((old | new).keys() - {"format"})
            if old.get(name) != new.get(name)
        }

    def clear(self) -> None:
        """Remove this training's checkpoints, so that it starts from scratch."""
        for path in [*self.folder.glob("*.pt"), *self.folder.glob("*.damaged")]:
            path.unlink(missing_ok=True)

    def _beginnings(self) -> list[Path]:
        """Checkpoints of other trainings that this one would come by, the furthest last."""
        updates = self._fingerprint.get("settings", {}).get("updates", 0)
        found = [
            path
            for folder, other in self._fingerprints()
            for path in _paths(folder)
            if _update_of(path) < updates
            and same_beginning(other, self._fingerprint, _update_of(path))
        ]
        return sorted(found, key=_update_of)

    def _fingerprints(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The folder and the fingerprint of each training of this kind."""
        for path in self._directory.glob(f"*/{FINGERPRINT}"):
            with suppress(ValueError):  # not JSON: nothing is known of what lies there
                yield path.parent, json.loads(path.read_text())


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("update-*.pt"))


def _update_of(path: Path) -> int:
    return int(path.stem.removeprefix("update-"))


def _newest_update(folder: Path) -> int:
    return max(map(_update_of, _paths(folder)), default=0)
