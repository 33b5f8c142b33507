"""The update of SRResNet's training, on pixels, and what it shares with SRGAN's.

The losses are those of the SRGAN paper (arXiv 1609.04802, section 2.2) and, optionally, those of
``deepdepixelate.training.losses``. SR and HR images are in [-1, 1].
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.utils import convert_conv2d_weight_memory_format

from deepdepixelate.errors import first_line
from deepdepixelate.models.device import Compute
from deepdepixelate.models.face_descriptor import FaceDescriptor
from deepdepixelate.models.generator import Generator, from_pixels, targets_from_pixels
from deepdepixelate.training.distributed import ALONE, Ranks
from deepdepixelate.training.losses import negative_psnr

logger = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

_TRIAL_UPDATES = 3
"""A CUDA graph is prepared in a network's first run, recorded in its second, then replayed."""


class TrainingStep(ABC):
    """Networks, their optimizers, and the update that trains them.

    Attributes:
        optimizers: the generator's first; the trainer sets their learning rates.
        first_updates: for each optimizer, the first update (from 0) in which it takes a step.
        result: the generator to validate and to keep.
        faces: the network of the identity loss, if there is one.
    """

    optimizers: tuple[torch.optim.Optimizer, ...]
    first_updates: tuple[int, ...]
    result: Generator
    faces: FaceDescriptor | None = None
    _saved: tuple[str, ...]
    """Attributes whose state dicts are saved."""

    def __init__(self, compute: Compute, ranks: Ranks) -> None:
        self._compute = compute
        self._ranks = ranks
        self._networks: list[nn.Module] = []
        self._compiled: dict[nn.Module, Callable[[Tensor], Any]] = {}

    @abstractmethod
    def update(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """One update from uint8 crops (N, 3, h, w) and (N, 3, H, W); its losses, detached."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {name: getattr(self, name).state_dict() for name in self._saved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        for name in self._saved:
            getattr(self, name).load_state_dict(state[name])

    def compile(self, lr: Tensor, hr: Tensor) -> bool:
        """Run the networks through ``torch.compile`` from now on; if that fails, warn and do not.

        A compiler starts when a network is first called, and may then lack a C++ compiler or
        memory. So each kind of update is tried on a batch before the training, and the state
        restored.

        Args:
            lr: a batch of the training's size, as for ``update``.
            hr: the same crops in HR.

        Returns:
            Whether the networks are compiled now.
        """
        before = deepcopy(self.state_dict())
        try:
            self._compiled = {
                network: torch.compile(network, mode="reduce-overhead", dynamic=False)
                for network in self._networks
            }
            self._try_updates(lr, hr)
        except Exception as error:  # compilers raise whatever they like
            logger.warning(
                "torch.compile does not work here (%s): training without it", first_line(error)
            )
            self._compiled = {}
        self.load_state_dict(before)
        return bool(self._compiled)

    def _try_updates(self, lr: Tensor, hr: Tensor) -> None:
        for _ in range(_TRIAL_UPDATES):
            self.update(lr, hr)

    def _begin_update(self) -> None:
        """Let CUDA graphs reuse the memory of the update before.

        By default they take the discriminator's backward pass for the end of an update.
        """
        if self._compiled:
            torch.compiler.cudagraph_mark_step_begin()

    def identity_loss(self, faces: FaceDescriptor, sr: Tensor, hr: Tensor) -> Tensor:
        """Mean Euclidean distance between the descriptors of SR and HR faces.

        An identity-preserving loss as in GFP-GAN (Wang et al., arXiv 2101.04061, section 3.4), with
        dlib's network and its distance.
        """
        with self._compute.autocast():
            with torch.no_grad():
                target = self._call(faces, hr)
            descriptors = self._call(faces, sr)
        distances: Tensor = torch.linalg.vector_norm(descriptors.float() - target.float(), dim=1)
        return distances.mean()

    def _call(self, network: nn.Module, images: Tensor) -> Any:
        return self._compiled.get(network, network)(images)

    def _place(self, network: Network) -> Network:
        """Move a network to the device, with channels-last weights."""
        network.to(self._compute.device)
        convert_conv2d_weight_memory_format(network, torch.channels_last)
        self._ranks.synchronise_batch_norms(network)
        self._networks.append(network)
        return network


class PretrainStep(TrainingStep):
    """SRResNet's update: the generator on the error of its pixels."""

    first_updates = (0,)
    _saved = ("generator", "optimizer")

    def __init__(
        self,
        generator: Generator,
        compute: Compute,
        ranks: Ranks = ALONE,
        *,
        loss: Literal["mse", "psnr"] = "mse",
        faces: FaceDescriptor | None = None,
        identity_weight: float = 0,
    ) -> None:
        """Put the generator on the device.

        Args:
            generator: new or pretrained.
            compute: device and precision.
            ranks: the processes that train together.
            loss: mse of all pixels, as in the paper; or psnr, see ``negative_psnr``.
            faces: for the identity loss; None: without one.
            identity_weight: of the identity loss.
        """
        super().__init__(compute, ranks)
        self.faces = None if faces is None else self._place(faces)
        self._identity_weight = identity_weight
        self._loss = mse_loss if loss == "mse" else negative_psnr
        self.generator = self.result = self._place(generator)
        self.optimizer = adam(generator)
        self.optimizers = (self.optimizer,)

    def update(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        self._begin_update()
        self.generator.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self._compute.autocast():
            sr = self._call(self.generator, from_pixels(lr)).float()
        hr = targets_from_pixels(hr)
        losses = {"loss": self._loss(sr, hr)}
        if self.faces is not None:
            losses["identity_loss"] = self.identity_loss(self.faces, sr, hr)
            losses["loss"] = losses["loss"] + self._identity_weight * losses["identity_loss"]
        losses["loss"].backward()
        self._ranks.average_gradients(self.generator)
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}


def adam(network: nn.Module) -> torch.optim.Adam:
    """Adam with the paper's beta1 = 0.9; the trainer sets the learning rate."""
    return torch.optim.Adam(network.parameters(), betas=(0.9, 0.999), fused=True)
