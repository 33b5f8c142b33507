"""Whether a training is still worth its hours."""

import logging
import math
from collections.abc import Mapping

from deepdepixelate.errors import UserError
from deepdepixelate.models.generator import Generator
from deepdepixelate.training.checkpoints import CheckpointStore

logger = logging.getLogger(__name__)

WON_LOSS = 1e-3
"""A discriminator loss below this is as good as zero: it tells every image, and teaches nothing."""

WON_POINTS = 5
"""Points of the curves in a row after which that is worth a warning."""


class Health:
    """Watches losses and weights of one training."""

    def __init__(self, name: str, checkpoints: CheckpointStore) -> None:
        self._name = name
        self._checkpoints = checkpoints
        self._points_won = 0

    def check_losses(self, means: Mapping[str, float], update: int) -> None:
        """Raise UserError where a loss is not finite."""
        broken = {name: value for name, value in means.items() if not math.isfinite(value)}
        if broken:
            raise self._broken_off(f"{broken} is not finite", update)

    def check_weights(self, generator: Generator, update: int) -> None:
        """Raise UserError where a weight is not finite: a finite loss can have such a gradient."""
        if not all(bool(weight.isfinite().all()) for weight in generator.parameters()):
            raise self._broken_off("a weight of the generator is not finite", update)

    def watch_discriminator(self, means: Mapping[str, float], update: int) -> None:
        """Warn, once each time, of a discriminator that has won."""
        loss = means.get("discriminator_loss", math.inf)
        self._points_won = self._points_won + 1 if loss < WON_LOSS else 0
        if self._points_won == WON_POINTS:
            logger.warning(
                "%s: the discriminator has won. Its loss was below %g at the last %d points (now "
                "%.2g, at update %d): the generator learns nothing from it any more. Lower "
                "train_gan.learning_rate.initial, or raise train_gan.adversarial_weight.",
                self._name,
                WON_LOSS,
                WON_POINTS,
                loss,
                update,
            )

    def _broken_off(self, what: str, update: int) -> UserError:
        newest = self._checkpoints.newest_update()
        last = (
            f"The last good checkpoint, of update {newest}, is in {self._checkpoints.folder}."
            if newest
            else "There is no checkpoint yet."
        )
        return UserError(
            f"{self._name} broke off at update {update}: {what}. {last} Lower "
            f"{self._name}.learning_rate.initial, or train in training.precision=fp32."
        )
