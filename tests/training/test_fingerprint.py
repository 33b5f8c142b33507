"""Which earlier training a training resumes."""

from typing import Any

import pytest
from pydantic import BaseModel

from deepdepixelate.parameters import PretrainParameters, TrainGanParameters
from deepdepixelate.training.checkpoints import (
    VALUES_BEFORE_ADDED,
    same_beginning,
    same_training,
)

CONSTANT = {"initial": 1e-3, "schedule": "constant"}
COSINE = {"initial": 1e-3, "schedule": "cosine"}


def steps(*decay_at: float) -> dict[str, Any]:
    return {"initial": 1e-3, "schedule": "steps", "decay_at": decay_at}


def described(updates: int, rate: dict[str, Any], **changes: Any) -> dict[str, Any]:
    settings = {"updates": updates, "learning_rate": rate, "batch_size": 2}
    return {"stage": "pretrain", "seed": 0, "settings": {**settings, **changes}}


@pytest.mark.parametrize(
    ("earlier", "later", "done", "same"),
    [
        (described(100, CONSTANT), described(200, CONSTANT), 100, True),
        (described(200, CONSTANT), described(100, CONSTANT), 60, True),
        (described(100, steps(0.5)), described(200, steps(0.25)), 100, True),
        (described(100, steps(0.5)), described(200, steps(0.5)), 50, True),
        (described(100, steps(0.5)), described(200, steps(0.5)), 51, False),
        (described(100, COSINE), described(200, COSINE), 100, False),
        (described(100, CONSTANT), described(200, {**CONSTANT, "warm_up": 5}), 100, False),
        (described(100, CONSTANT), described(200, CONSTANT, batch_size=4), 100, False),
    ],
)
def test_a_longer_schedule_begins_like_a_shorter_one_of_the_same_rates(
    earlier: dict[str, Any], later: dict[str, Any], done: int, same: bool
) -> None:
    assert same_beginning(earlier, later, done) is same
    assert not same_training(earlier, later)


def test_a_setting_that_came_later_counts_as_what_was_computed_before() -> None:
    earlier = described(100, COSINE)
    assert same_training(earlier, described(100, COSINE, shift=0, loss="mse") | {"format": 2})
    assert not same_training(earlier, described(100, COSINE, shift=16))
    assert not same_training(earlier, described(100, COSINE, loss="psnr"))


def names(section: type[BaseModel], prefix: str = "settings.") -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= names(inner, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


OF_THE_FIRST_FORMAT = """
updates batch_size crop_size learning_rate.initial learning_rate.schedule learning_rate.decay_at
learning_rate.decay_factor learning_rate.warm_up validate_every validation_images checkpoint_every
restart batch_norm generator.blocks generator.channels loss start_from discriminator.kind
discriminator.channels discriminator.dense content vgg_weights vgg_feature_scale pixel_weight
adversarial_weight ema_decay discriminator_head_start shift grid_weight
"""


def test_each_new_setting_says_what_was_computed_before_it_came() -> None:
    """Otherwise all finished trainings would be lost to those who upgrade."""
    first = {f"settings.{name}" for name in OF_THE_FIRST_FORMAT.split()}
    new = (names(PretrainParameters) | names(TrainGanParameters)) - first
    assert new <= set(VALUES_BEFORE_ADDED)
