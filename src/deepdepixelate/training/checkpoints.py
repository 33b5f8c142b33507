"""Checkpoints: written atomically, and resumed only by the same training.

Everything that decides a training's weights (parameters, data, initial weights) is its
fingerprint, a JSON object. Each fingerprint has a folder. So a changed parameter trains from
scratch and leaves earlier checkpoints alone, unless both trainings share their first updates: then
the later one resumes from there, in its own folder. Fingerprints are compared by content, not by
folder name, so that parameters added to this program later do not orphan checkpoints.
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
from deepdepixelate.parameters import LearningRate
from deepdepixelate.training.learning_rate import learning_rate_at

logger = logging.getLogger(__name__)

FORMAT = 2
"""Version of the fingerprint; the first one had none."""

FINGERPRINT = "fingerprint.json"

VALUES_BEFORE_ADDED = {
    "processes": None,
    "settings.artifact_weight": 0,
    "settings.batch_norm": "learned",
    "settings.discriminator.kind": "paper",
    "settings.discriminator.start_from": None,
    "settings.discriminator_head_start": 0,
    "settings.grid_weight": 0,
    "settings.identity": None,
    "settings.loss": "mse",
    "settings.pixel_weight": 0,
    "settings.shift": 0,
}
"""Parameters added after the first release, with the value that earlier trainings computed with.
Add every new parameter here: then trainings that keep this value resume earlier checkpoints."""

_SCHEDULE = ("settings.updates", "settings.learning_rate.")
"""Compared by the learning rates that result."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after ``update`` updates.

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
        kept: int = 2,
        restart: str | None = None,
    ) -> None:
        """Find the training's folder, or choose a new one.

        Args:
            directory: holds the folders of all trainings of this kind.
            fingerprint: every parameter and data hash that decides the weights, as JSON values.
            kept: number of newest checkpoints to keep; more than one, in case one is damaged.
            restart: the parameter that makes this training start from scratch, as a user writes
                it; None if it resumes.
        """
        self._directory = directory
        self._kept = kept
        self._restart = restart
        self._content = json.dumps(dict(fingerprint), sort_keys=True, indent=1)
        self._fingerprint: dict[str, Any] = json.loads(self._content)
        name = hashlib.sha256(self._content.encode()).hexdigest()[:12]
        same = [
            folder
            for folder, other in self._fingerprints()
            if same_training(other, self._fingerprint)
        ]
        self.folder = max(same, key=_newest_update, default=directory / name)

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint atomically, then remove all but the newest ones.

        Raises:
            UserError: the disk is full or read-only; earlier checkpoints are untouched.
        """
        path = self.folder / f"update-{checkpoint.update:09d}.pt"
        try:
            if not (self.folder / FINGERPRINT).exists():
                with atomic_write(self.folder / FINGERPRINT) as file:
                    file.write(self._content.encode())
            with atomic_write(path) as file:
                torch.save({"update": checkpoint.update, "state": checkpoint.state}, file)
            for old in _paths(self.folder)[: -self._kept]:
                old.unlink()
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
            if isinstance(error, RuntimeError) and not isinstance(error.__context__, OSError):
                raise
            raise UserError(
                f"the checkpoint {path} could not be written ({error.__context__ or error}). Make "
                f"room or mend the permissions. {self.how_to_resume()}"
            ) from error
        return path

    def newest_update(self) -> int:
        """The update of the newest checkpoint file in the folder; 0 if there is none."""
        return _newest_update(self.folder)

    def how_to_resume(self) -> str:
        """Advice at the end of a message that a training stopped."""
        if not (newest := self.newest_update()):
            return "Run the same command again; this training has no checkpoint yet."
        without = f" without {self._restart}, which starts from scratch," if self._restart else ""
        return f"Run the same command again{without} to resume from update {newest}."

    def latest(self) -> Checkpoint | None:
        """The newest readable checkpoint; damaged ones are reported and renamed.

        If this training has none: that of another training that shares its first updates.

        Raises:
            UserError: there is one, but the system cannot read it now.
        """
        for leftover in self.folder.glob(".*.tmp"):  # from a process killed while it wrote
            leftover.unlink(missing_ok=True)
        paths = _paths(self.folder)
        if not paths and self._restart is None:
            paths = self._shared_beginnings()
        for path in reversed(paths):
            try:
                return self.read(path)
            except UserError:
                raise
            except Exception as error:  # torch.load raises almost anything for a damaged file
                renamed = path.rename(path.with_suffix(".damaged"))
                logger.warning(
                    "The checkpoint %s is damaged (%s) and was renamed to %s.",
                    path,
                    repr(error).split(". ")[0].split("\\n")[0],
                    renamed.name,
                )
        return None

    def read(self, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            UserError: the system cannot read it now.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, MemoryError) as error:
            raise UserError(
                f"the checkpoint {path} cannot be read ({error}). Fix that and run the same "
                "command again; nothing was changed."
            ) from error
        return Checkpoint(content["update"], content["state"], path)

    def differences(self) -> tuple[Path, dict[str, tuple[Any, Any]]] | None:
        """What differs from the newest other training of this kind, if there is one.

        Returns:
            The other one's folder; the old and the new value of each parameter that differs.
        """
        others = [each for each in self._fingerprints() if each[0] != self.folder]
        if not others:
            return None
        folder, fingerprint = max(others, key=lambda each: (each[0] / FINGERPRINT).stat().st_mtime)
        old, new = _flatten(fingerprint), _flatten(self._fingerprint)
        return folder, {
            name: (old.get(name), new.get(name))
            for name in sorted((old | new).keys() - {"format"})
            if old.get(name) != new.get(name)
        }

    def clear(self) -> None:
        """Remove this training's checkpoints, so that it starts from scratch."""
        for path in [*self.folder.glob("*.pt"), *self.folder.glob("*.damaged")]:
            path.unlink(missing_ok=True)

    def _shared_beginnings(self) -> list[Path]:
        """Checkpoints of other trainings that are the same so far, the furthest last."""
        found = [
            path
            for folder, other in self._fingerprints()
            for path in _paths(folder)
            if _update_of(path) < _updates(self._fingerprint)
            and same_beginning(other, self._fingerprint, _update_of(path))
        ]
        return sorted(found, key=_update_of)

    def _fingerprints(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folder and fingerprint of each training of this kind."""
        for path in self._directory.glob(f"*/{FINGERPRINT}"):
            with suppress(ValueError):  # not JSON: not a training's folder
                yield path.parent, json.loads(path.read_text())


def same_training(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two fingerprints lead to the same weights."""
    updates = _updates(first)
    return updates == _updates(second) and same_beginning(first, second, updates)


def same_beginning(first: Mapping[str, Any], second: Mapping[str, Any], updates: int) -> bool:
    """Whether the first ``updates`` updates of two trainings are the same computation."""
    if _without_schedule(first) != _without_schedule(second):
        return False
    schedules = [(_updates(each), _learning_rate(each)) for each in (first, second)]
    if schedules[0] == schedules[1]:
        return True
    if any(rate is None for _, rate in schedules):
        return False
    return all(
        len({learning_rate_at(update, length, rate) for length, rate in schedules if rate}) == 1
        for update in range(updates)
    )


def _without_schedule(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters but the schedule, and but added ones that change nothing."""
    return {
        name: value
        for name, value in _flatten(fingerprint).items()
        if name != "format"
        and not name.startswith(_SCHEDULE)
        and not (name in VALUES_BEFORE_ADDED and value == VALUES_BEFORE_ADDED[name])
    }


def _updates(fingerprint: Mapping[str, Any]) -> int:
    return int(fingerprint.get("settings", {}).get("updates", 0))


def _learning_rate(fingerprint: Mapping[str, Any]) -> LearningRate | None:
    values = fingerprint.get("settings", {}).get("learning_rate")
    return None if values is None else LearningRate.model_validate(values)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("update-*.pt"))


def _update_of(path: Path) -> int:
    return int(path.stem.removeprefix("update-"))


def _newest_update(folder: Path) -> int:
    return max(map(_update_of, _paths(folder)), default=0)
