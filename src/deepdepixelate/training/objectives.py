"""What a training minimises: one optimisation step of each kind, and nothing else.

Losses are those of the SRGAN paper (arXiv 1609.04802, section 2.2), on images in [-1, 1], and by
choice those of ``deepdepixelate.training.losses``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from deepdepixelate.models.device import Compute
from deepdepixelate.models.generator import Generator, from_pixels, targets_from_pixels
from deepdepixelate.models.perceptual import PerceptualNetwork
from deepdepixelate.models.shift_tolerant import ShiftTolerantTrunk
from deepdepixelate.training.compilation import EAGER, Execution
from deepdepixelate.training.losses import feature_loss, grid_loss, negative_psnr
from deepdepixelate.training.ranks import ALONE, Ranks

Network = TypeVar("Network", bound=nn.Module)


class Objective(Protocol):
    """Networks, their optimizers and one step that improves them."""

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """All optimizers, whose learning rate the loop sets; the generator's first."""

    @property
    def begins(self) -> tuple[int, ...]:
        """The update, from 0, in which each of them takes its first step."""

    @property
    def result(self) -> Generator:
        """The generator to validate and to keep."""

    def step(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """One update from uint8 crops (N, 3, h, w) and (N, 3, H, W); its losses, detached."""

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a ``state``."""


class PretrainObjective:
    """Mean squared error of the pixels, of all or of each crop in dB: SRResNet."""

    def __init__(
        self,
        generator: Generator,
        compute: Compute,
        ranks: Ranks = ALONE,
        *,
        loss: Literal["mse", "psnr"] = "mse",
    ) -> None:
        """Put the generator on the device.

        Args:
            generator: new, or trained before.
            compute: where to compute.
            ranks: the processes that train together.
            loss: mse, of all pixels, as in the paper; or psnr, see ``negative_psnr``.
        """
        self._loss = mse_loss if loss == "mse" else negative_psnr
        self._compute = compute
        self._ranks = ranks
        self.generator = _place(generator, compute, ranks)
        self._optimizer = _adam(self.generator)
        self.use(EAGER)

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        return (self._optimizer,)

    @property
    def begins(self) -> tuple[int, ...]:
        return (0,)

    @property
    def result(self) -> Generator:
        return self.generator

    def use(self, execution: Execution) -> None:
        """Call the networks so from the next step on; until then, they are called as they are."""
        self._execution = execution
        self._generate = execution.callable_of(self.generator)

    def rehearse(self, lr: Tensor, hr: Tensor, times: int) -> None:
        """Take every kind of step so often, for what ``compile_networks`` wants to know."""
        for _ in range(times):
            self.step(lr, hr)

    def step(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        self._execution.begin_step()
        self.generator.train()
        self._optimizer.zero_grad(set_to_none=True)
        with self._compute.autocast():
            sr = self._generate(from_pixels(lr))
        loss = self._loss(sr.float(), targets_from_pixels(hr))
        loss.backward()
        self._ranks.average_gradients(self.generator)
        self._optimizer.step()
        return {"loss": loss.detach()}

    def state(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self._optimizer.load_state_dict(state["optimizer"])


class AdversarialObjective:
    """Content loss plus a small adversarial loss, against a discriminator that learns along."""

    def __init__(
        self,
        generator: Generator,
        discriminator: nn.Module,
        content: PerceptualNetwork | ShiftTolerantTrunk | None,
        compute: Compute,
        *,
        adversarial_weight: float,
        ema_decay: float,
        pixel_weight: float = 0.0,
        grid_weight: float = 0.0,
        head_start: int = 0,
        shift: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        """Put the networks on the device.

        Args:
            generator: usually pretrained.
            discriminator: for crops of the size that will be given to ``step``.
            content: the network whose features are compared; None compares pixels.
            compute: where to compute.
            adversarial_weight: factor on the adversarial loss.
            ema_decay: of the exponential moving average of the generator; 0 for none.
            pixel_weight: factor on the mean absolute error of the pixels; 0 for none.
            grid_weight: factor on ``grid_loss``; 0 for none.
            head_start: steps at the beginning in which only the discriminator learns.
            shift: before they are judged, images are rolled by so many pixels less one, drawn
                again for each step, at the most; 0 and 1 leave them as they are. The gradients of
                convolutions with strides, and of pooling, form a grid; where it always lies the
                same way over the generator's own grid of sub-pixels, the generator learns it.
            ranks: the processes that train together.
        """
        self._compute = compute
        self._ranks = ranks
        self._adversarial_weight = adversarial_weight
        self._pixel_weight = pixel_weight
        self._head_start = head_start
        self._shift = shift
        self._grid_weight = grid_weight
        self._steps = 0
        self.generator = _place(generator, compute, ranks)
        self.discriminator = _place(discriminator, compute, ranks)
        self.content = None if content is None else _place(content, compute, ranks)
        self._generator_optimizer = _adam(self.generator)
        self._discriminator_optimizer = _adam(self.discriminator)
        self._average = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True
        )
        self.use(EAGER)

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        return (self._generator_optimizer, self._discriminator_optimizer)

    @property
    def begins(self) -> tuple[int, ...]:
        return (self._head_start, 0)

    @property
    def result(self) -> Generator:
        average = self._average.module
        assert isinstance(average, Generator)  # noqa: S101 - AveragedModel loses the type
        return average

    def use(self, execution: Execution) -> None:
        """Call the networks so from the next step on; until then, they are called as they are."""
        self._execution = execution
        self._generate = execution.callable_of(self.generator)
        self._discriminate = execution.callable_of(self.discriminator)
        self._extract: Callable[[Tensor], Any] | None = (  # one feature map, or several
            None if self.content is None else execution.callable_of(self.content)
        )

    def rehearse(self, lr: Tensor, hr: Tensor, times: int) -> None:
        """Take every kind of step so often: those of the head start, and those after it."""
        for begin in sorted({0, self._head_start}):
            self._steps = begin
            for _ in range(times):
                self.step(lr, hr)

    def step(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        self._execution.begin_step()
        self.generator.train()
        self.discriminator.train()
        learns = self._steps >= self._head_start
        originals = targets_from_pixels(hr)
        with torch.set_grad_enabled(learns), self._compute.autocast():
            sr = self._generate(from_pixels(lr)).float()
        judged, judged_sr = self._shifted(originals), self._shifted(sr)
        discriminator_losses = self._step_discriminator(judged, judged_sr.detach())
        with torch.set_grad_enabled(learns):
            pixels = self._pixel_losses(originals, sr)
            generator_losses = self._step_generator(judged, judged_sr, pixels)
        self._average.update_parameters(self.generator)
        self._steps += 1
        return {**generator_losses, **discriminator_losses}

    def _shifted(self, images: Tensor) -> Tensor:
        """The images (N, 3, H, W), rolled as this step decides; nothing of them is lost."""
        if self._shift <= 1:
            return images
        down, right = np.random.default_rng(self._steps).integers(0, self._shift, 2).tolist()
        return images.roll((down, right), (2, 3)).contiguous(memory_format=torch.channels_last)

    def _step_discriminator(self, originals: Tensor, sr: Tensor) -> dict[str, Tensor]:
        self._discriminator_optimizer.zero_grad(set_to_none=True)
        with self._compute.autocast():
            real, fake = self._discriminate(originals).float(), self._discriminate(sr).float()
        loss = _towards(real, 1.0) + _towards(fake, 0.0)
        loss.backward()
        self._ranks.average_gradients(self.discriminator)
        self._discriminator_optimizer.step()
        return {
            "discriminator_loss": loss.detach(),
            "discriminator_on_hr": real.detach().sigmoid().mean(),
            "discriminator_on_sr": fake.detach().sigmoid().mean(),
        }

    def _step_generator(
        self, originals: Tensor, sr: Tensor, pixels: dict[str, tuple[float, Tensor]]
    ) -> dict[str, Tensor]:
        self._generator_optimizer.zero_grad(set_to_none=True)
        content_loss = self._content_loss(originals, sr)
        with _frozen(self.discriminator), self._compute.autocast():
            fake = self._discriminate(sr).float()
        adversarial_loss = _towards(fake, 1.0)
        loss = content_loss + self._adversarial_weight * adversarial_loss
        for weight, each in pixels.values():
            loss = loss + weight * each
        if loss.requires_grad:
            loss.backward()
            self._ranks.average_gradients(self.generator)
            self._generator_optimizer.step()
        return {
            "loss": loss.detach(),
            "content_loss": content_loss.detach(),
            "adversarial_loss": adversarial_loss.detach(),
            **{name: each.detach() for name, (_, each) in pixels.items()},
        }

    def _pixel_losses(self, originals: Tensor, sr: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Factors and losses, by name, of images that are not shifted: their grid lies fixed."""
        losses = {}
        if self._pixel_weight:
            losses["pixel_loss"] = (self._pixel_weight, l1_loss(sr, originals))
        if self._grid_weight:
            scale = self.generator.architecture.scale
            losses["grid_loss"] = (self._grid_weight, grid_loss(sr, originals, scale))
        return losses

    def _content_loss(self, originals: Tensor, sr: Tensor) -> Tensor:
        if self._extract is None:
            return mse_loss(sr, originals)
        with self._compute.autocast():
            with torch.no_grad():
                target = self._extract(originals)
            features = self._extract(sr)
        if isinstance(features, Tensor):
            return mse_loss(features.float(), target.float())
        return feature_loss(features, target, self._ranks.mean)

    def state(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self._average.state_dict(),
            "generator_optimizer": self._generator_optimizer.state_dict(),
            "discriminator_optimizer": self._discriminator_optimizer.state_dict(),
            "steps": self._steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self._average.load_state_dict(state["average"])
        self._generator_optimizer.load_state_dict(state["generator_optimizer"])
        self._discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self._steps = state["steps"]


def _place(network: Network, compute: Compute, ranks: Ranks) -> Network:
    """Move a network to the device, its convolutions' weights channels last."""
    convert_conv2d_weight_memory_format(network.to(compute.device), torch.channels_last)
    ranks.prepare(network)
    return network


def _adam(network: nn.Module) -> torch.optim.Adam:
    """Adam with the paper's beta1 = 0.9; the loop sets the rate before each step."""
    return torch.optim.Adam(network.parameters(), betas=(0.9, 0.999), fused=True)


def _towards(logits: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without leaving any in it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
