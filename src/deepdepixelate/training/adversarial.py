"""The update of SRGAN's training: against a discriminator.

The losses are those of the SRGAN paper (arXiv 1609.04802, section 2.2) and, optionally, those of
``deepdepixelate.training.losses``. SR and HR images are in [-1, 1].
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from deepdepixelate.models.device import Compute
from deepdepixelate.models.face_descriptor import FaceDescriptor
from deepdepixelate.models.generator import Generator, from_pixels, targets_from_pixels
from deepdepixelate.models.perceptual import PerceptualNetwork
from deepdepixelate.models.shift_tolerant import ShiftTolerantTrunk
from deepdepixelate.parameters import TrainGanParameters
from deepdepixelate.training.distributed import ALONE, Ranks
from deepdepixelate.training.losses import artifact_loss, feature_loss, grid_loss
from deepdepixelate.training.steps import TrainingStep, adam


class AdversarialStep(TrainingStep):
    """SRGAN's update: first the discriminator D, then the generator.

    With logits D(x) and the binary cross-entropy BCE::

        discriminator_loss = BCE(D(hr), 1) + BCE(D(sr), 0)
        adversarial_loss = BCE(D(sr), 1)
        loss = content_loss + adversarial_weight * adversarial_loss
             + pixel_weight * mean |sr - hr| + grid_weight * grid_loss(sr, hr)
             + artifact_weight * artifact_loss(sr, average's sr, hr)
             + identity.weight * identity_loss(sr, hr)
    """

    _saved = (
        "generator",
        "discriminator",
        "average",
        "generator_optimizer",
        "discriminator_optimizer",
    )

    def __init__(
        self,
        generator: Generator,
        discriminator: nn.Module,
        content: PerceptualNetwork | ShiftTolerantTrunk | None,
        settings: TrainGanParameters,
        compute: Compute,
        ranks: Ranks = ALONE,
        *,
        faces: FaceDescriptor | None = None,
    ) -> None:
        """Put the networks on the device.

        Args:
            generator: usually pretrained.
            discriminator: for crops of the size that ``update`` gets.
            content: its features of SR and HR are compared; None compares pixels, by MSE.
            settings: the factors on the losses, the EMA's decay, head start and shift.
            compute: device and precision.
            ranks: the processes that train together.
            faces: for the identity loss; None: without one.
        """
        super().__init__(compute, ranks)
        self._settings = settings
        self.faces = None if faces is None else self._place(faces)
        self._updates = 0
        self.generator = self._place(generator)
        self.discriminator = self._place(discriminator)
        self.content = None if content is None else self._place(content)
        self.generator_optimizer = adam(generator)
        self.discriminator_optimizer = adam(discriminator)
        self.average = AveragedModel(
            generator, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True
        )
        self.average.eval()
        self.result = cast("Generator", self.average.module)
        self.optimizers = (self.generator_optimizer, self.discriminator_optimizer)
        self.first_updates = (settings.discriminator_head_start, 0)

    def update(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        self._begin_update()
        self.generator.train()
        self.discriminator.train()
        trains_generator = self._updates >= self._settings.discriminator_head_start
        hr = targets_from_pixels(hr)
        with torch.set_grad_enabled(trains_generator), self._compute.autocast():
            sr = self._call(self.generator, from_pixels(lr)).float()
        rolled_hr, rolled_sr = (self._roll(images, self._settings.shift) for images in (hr, sr))
        discriminator_losses = self._update_discriminator(rolled_hr, rolled_sr.detach())
        with torch.set_grad_enabled(trains_generator):
            unrolled_losses = self._unrolled_losses(lr, hr, sr)
            generator_losses = self._update_generator(rolled_hr, rolled_sr, unrolled_losses)
        self.average.update_parameters(self.generator)
        self._updates += 1
        return {**generator_losses, **discriminator_losses}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._updates = state["steps"]

    def _try_updates(self, lr: Tensor, hr: Tensor) -> None:
        for first_update in sorted(set(self.first_updates)):  # with and without the generator
            self._updates = first_update
            super()._try_updates(lr, hr)

    def _roll(self, images: Tensor, shift: int) -> Tensor:
        """Roll images (N, 3, H, W) by 0 to shift - 1 pixels, drawn for each update.

        Gradients of strided convolutions and of pooling form a grid. If it always has the same
        position on the generator's sub-pixels, the generator learns it.
        """
        if shift <= 1:
            return images
        down, right = np.random.default_rng(self._updates).integers(0, shift, 2).tolist()
        return images.roll((down, right), (2, 3)).contiguous(memory_format=torch.channels_last)

    def _update_discriminator(self, hr: Tensor, sr: Tensor) -> dict[str, Tensor]:
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        with self._compute.autocast():
            real = self._call(self.discriminator, hr).float()
            fake = self._call(self.discriminator, sr).float()
        loss = _cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0)
        loss.backward()
        self._ranks.average_gradients(self.discriminator)
        self.discriminator_optimizer.step()
        return {
            "discriminator_loss": loss.detach(),
            "discriminator_on_hr": real.detach().sigmoid().mean(),
            "discriminator_on_sr": fake.detach().sigmoid().mean(),
        }

    def _update_generator(
        self, hr: Tensor, sr: Tensor, unrolled_losses: dict[str, tuple[float, Tensor]]
    ) -> dict[str, Tensor]:
        self.generator_optimizer.zero_grad(set_to_none=True)
        content_loss = self._content_loss(hr, sr)
        with _frozen(self.discriminator), self._compute.autocast():
            fake = self._call(self.discriminator, sr).float()
        adversarial_loss = _cross_entropy(fake, 1.0)
        loss = content_loss + self._settings.adversarial_weight * adversarial_loss
        for weight, unrolled_loss in unrolled_losses.values():
            loss = loss + weight * unrolled_loss
        if loss.requires_grad:
            loss.backward()
            self._ranks.average_gradients(self.generator)
            self.generator_optimizer.step()
        return {
            "loss": loss.detach(),
            "content_loss": content_loss.detach(),
            "adversarial_loss": adversarial_loss.detach(),
            **{name: loss.detach() for name, (_, loss) in unrolled_losses.items()},
        }

    def _unrolled_losses(
        self, lr: Tensor, hr: Tensor, sr: Tensor
    ) -> dict[str, tuple[float, Tensor]]:
        """Factors and losses by name, of images that are not rolled: LR pixels do not move."""
        losses = {}
        if weight := self._settings.pixel_weight:
            losses["pixel_loss"] = (weight, l1_loss(sr, hr))
        if weight := self._settings.grid_weight:
            losses["grid_loss"] = (weight, grid_loss(sr, hr, self.generator.architecture.scale))
        if weight := self._settings.artifact_weight:
            with torch.no_grad(), self._compute.autocast():
                average = self.result(from_pixels(lr)).float()
            losses["artifact_loss"] = (weight, artifact_loss(sr, average, hr))
        if self.faces is not None and (identity := self._settings.identity) is not None:
            # By up to an LR pixel, so that no grid at one position can please the network.
            moved = (self._roll(images, self.generator.architecture.scale) for images in (sr, hr))
            losses["identity_loss"] = (identity.weight, self.identity_loss(self.faces, *moved))
        return losses

    def _content_loss(self, hr: Tensor, sr: Tensor) -> Tensor:
        if self.content is None:
            return mse_loss(sr, hr)
        with self._compute.autocast():
            with torch.no_grad():
                target = self._call(self.content, hr)
            features = self._call(self.content, sr)
        if isinstance(features, Tensor):
            return mse_loss(features.float(), target.float())
        return feature_loss(features, target, self._ranks.mean)


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without storing any for its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
