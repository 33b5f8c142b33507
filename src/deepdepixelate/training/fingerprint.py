"""What decides a training's weights, and which earlier training it goes on from.

A fingerprint is JSON: all settings and the digests of the data. Trainings are compared by what
their fingerprints say, never by the names of their folders, so that a setting that comes later
orphans no checkpoint. Fingerprints without a ``format`` are the first ones.
"""

from collections.abc import Mapping
from typing import Any

from deepdepixelate.parameters import LearningRate
from deepdepixelate.training.rates import learning_rate_at

FORMAT = 2

BEFORE_IT_CAME = {
    "processes": None,
    "settings.batch_norm": "learned",
    "settings.discriminator.kind": "paper",
    "settings.discriminator_head_start": 0,
    "settings.grid_weight": 0,
    "settings.loss": "mse",
    "settings.pixel_weight": 0,
    "settings.shift": 0,
}
"""Settings that came later, and the value that stands for what was computed before they came. A
new setting belongs here: then earlier trainings are found by those that leave it at that value."""

_SCHEDULE = ("settings.updates", "settings.learning_rate.")
"""Compared by the rates that come of them."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def same_training(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two fingerprints are of the same training, from beginning to end."""
    updates = _updates(first)
    return updates == _updates(second) and same_beginning(first, second, updates)


def same_beginning(first: Mapping[str, Any], second: Mapping[str, Any], updates: int) -> bool:
    """Whether the first ``updates`` updates of two trainings are the same computation."""
    if _identity(first) != _identity(second):
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


def _identity(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal: all but the schedule, and settings at their value from before."""
    return {
        name: value
        for name, value in flatten(fingerprint).items()
        if name != "format"
        and not name.startswith(_SCHEDULE)
        and not (name in BEFORE_IT_CAME and value == BEFORE_IT_CAME[name])
    }


def _updates(fingerprint: Mapping[str, Any]) -> int:
    return int(fingerprint.get("settings", {}).get("updates", 0))


def _learning_rate(fingerprint: Mapping[str, Any]) -> LearningRate | None:
    values = fingerprint.get("settings", {}).get("learning_rate")
    return None if values is None else LearningRate.model_validate(values)
