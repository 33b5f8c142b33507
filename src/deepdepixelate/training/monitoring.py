"""What a training measures: mean losses, signs of failure, quality on the validation split."""

import logging
import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError
from deepdepixelate.metrics.psnr_ssim import psnr_y, ssim_y
from deepdepixelate.metrics.spectrum import spectrum
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.models.enlarge import enlarge
from deepdepixelate.models.generator import Generator
from deepdepixelate.training.checkpoints import CheckpointStore
from deepdepixelate.training.distributed import Ranks

logger = logging.getLogger(__name__)

_VANISHED_LOSS, _VANISHED_POINTS = 1e-3, 5
"""A discriminator loss below the first, for this many logged points in a row, is worth a warning:
the discriminator recognises every image, and the generator gets no useful gradient from it."""

_BATCH_SIZE = 16
"""Images that are validated at a time."""


class LossAverager:
    """Mean losses and speed since the last logged point.

    Losses are summed on their device, so that updates do not wait for it.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._count = 0
        self.restart_clock()

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of one update."""
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss
        self._count += 1
        self._timed += 1

    def means(self, ranks: Ranks) -> dict[str, float]:
        """The mean losses over updates and ranks, read from the device; collective."""
        sums = ranks.average({name: float(value) for name, value in self._sums.items()})
        self._sums = dict(sums)
        return {name: value / self._count for name, value in sums.items()}

    def reset(self) -> None:
        """Start the next point."""
        self._sums, self._count = {}, 0

    def updates_per_second(self) -> float:
        """The speed since ``restart_clock``."""
        return self._timed / (perf_counter() - self._since)

    def restart_clock(self) -> None:
        """Measure the speed from now on, without the validation or checkpoint before."""
        self._timed, self._since = 0, perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs to log the same next point."""
        return {"sums": self._sums, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        self._sums, self._count = dict(state["sums"]), state["count"]
        self.restart_clock()


class Health:
    """Stops a training that has diverged, and warns if the discriminator loss vanishes."""

    def __init__(self, name: str, checkpoints: CheckpointStore) -> None:
        self._name = name
        self._checkpoints = checkpoints
        self._vanished_points = 0

    def check_losses(self, means: Mapping[str, float], update: int) -> None:
        """Raise UserError if a loss is not finite."""
        broken = {name: value for name, value in means.items() if not math.isfinite(value)}
        if broken:
            raise self._diverged(f"{broken} is not finite", update)

    def check_weights(self, generator: Generator, update: int) -> None:
        """Raise UserError if a weight is not finite; the loss can still be."""
        if not all(bool(weight.isfinite().all()) for weight in generator.parameters()):
            raise self._diverged("a weight of the generator is not finite", update)

    def check_discriminator(self, means: Mapping[str, float], update: int) -> None:
        """Warn, once each time, when the discriminator loss has vanished."""
        loss = means.get("discriminator_loss", math.inf)
        self._vanished_points = self._vanished_points + 1 if loss < _VANISHED_LOSS else 0
        if self._vanished_points == _VANISHED_POINTS:
            logger.warning(
                "%s: the discriminator loss was below %g at the last %d logged points (now %.2g, "
                "at update %d), so the generator learns nothing from it. Lower "
                "train_gan.learning_rate.initial, or raise train_gan.adversarial_weight.",
                self._name,
                _VANISHED_LOSS,
                _VANISHED_POINTS,
                loss,
                update,
            )

    def _diverged(self, what: str, update: int) -> UserError:
        newest = self._checkpoints.newest_update()
        last = (
            f"The last good checkpoint, of update {newest}, is in {self._checkpoints.folder}."
            if newest
            else "There is no checkpoint yet."
        )
        return UserError(
            f"{self._name} diverged at update {update}: {what}. {last} Choose a lower "
            f"{self._name}.learning_rate.initial, or training.precision=fp32."
        )


class Validator:
    """Image quality on the first images of a split, computed as in the evaluation.

    Raises:
        UserError: the weights of ST-LPIPS are missing or damaged.
    """

    def __init__(self, pairs: ImagePairs, images: int, device: torch.device) -> None:
        self._pairs = pairs
        self._count = min(images, len(pairs))
        self._device = device
        self._st_lpips = STLPIPS(device)

    def __call__(self, generator: Generator) -> dict[str, float]:
        """Means over the images.

        ``val.psnr_y`` (dB), ``val.ssim_y``, ``val.st_lpips`` (absent if all images are too small
        for its network) and ``val.high_frequency_ratio`` (see ``metrics.spectrum``; absent if no
        image has any detail).
        """
        scale = self._pairs.scale
        names = ("psnr_y", "ssim_y", "st_lpips", "high_frequency_ratio")
        scores: dict[str, list[float]] = {f"val.{name}": [] for name in names}
        psnr, ssim, distances, ratios = scores.values()
        for start in range(0, self._count, _BATCH_SIZE):
            indices = range(start, min(start + _BATCH_SIZE, self._count))
            hr = np.stack([self._pairs.hr[index] for index in indices])
            lr = np.stack([self._pairs.lr[index] for index in indices])
            sr = enlarge(generator, lr, self._device)
            psnr += list(psnr_y(sr, hr, scale))
            ssim += list(ssim_y(sr, hr, scale))
            for image, original in zip(sr, hr, strict=True):
                distances += self._st_lpips.distances([image], original)
                detail = spectrum(original, scale, scale)
                ratios.append(spectrum(image, scale, scale).high_frequency_ratio(detail))
        return {
            name: float(np.nanmean(values))
            for name, values in scores.items()
            if not np.isnan(values).all()
        }
