"""Networks called as they are, or compiled to fused kernels that a GPU replays as CUDA graphs."""

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from deepdepixelate.errors import first_line

logger = logging.getLogger(__name__)

_TRIAL_STEPS = 3
"""CUDA graphs are prepared in a network's first run, recorded in its second, then replayed."""


@dataclass(frozen=True)
class Execution:
    """How a training's steps call networks. Their weights stay in the networks themselves."""

    compiled: bool

    def callable_of(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """What to call in place of a network in a training step."""
        if not self.compiled:
            return network
        optimised: Callable[[Tensor], Tensor] = torch.compile(
            network, mode="reduce-overhead", dynamic=False
        )
        return optimised

    def begin_step(self) -> None:
        """Say that nothing of the step before is needed any more: CUDA graphs reuse its memory.

        Left alone, they would take the discriminator's backward pass for the end of a step.
        """
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()


EAGER = Execution(compiled=False)
COMPILED = Execution(compiled=True)


class Compilable(Protocol):
    """The part of an objective that compilation is about."""

    def use(self, execution: Execution) -> None:
        """Call the networks so from the next step on."""

    def rehearse(self, lr: Tensor, hr: Tensor, times: int) -> None:
        """Take every kind of step that a training will take so many times."""

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a ``state``."""


def compile_networks(objective: Compilable, lr: Tensor, hr: Tensor) -> bool:
    """Let an objective's steps run compiled; where that fails, say why and leave them eager.

    A compiler sees a network only when that is called, and may then lack a C++ compiler, or memory
    for its graphs. So it is tried on a batch before the training, and the state put back.

    Args:
        objective: what will be trained.
        lr: LR crops of the training's size.
        hr: the HR crops that belong to them.

    Returns:
        Whether the steps are compiled now.
    """
    untouched = deepcopy(objective.state())
    try:
        objective.use(COMPILED)
        objective.rehearse(lr, hr, _TRIAL_STEPS)
        works = True
    except Exception as error:  # compilers raise whatever they like
        logger.warning(
            "torch.compile does not work here (%s): training goes on without it", first_line(error)
        )
        objective.use(EAGER)
        works = False
    objective.restore(untouched)
    return works
