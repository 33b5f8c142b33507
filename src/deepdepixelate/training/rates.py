"""Learning rates over the updates of a training."""

import math

import torch

from deepdepixelate.parameters import LearningRate


def learning_rate_at(update: int, updates: int, rate: LearningRate, begin: int = 0) -> float:
    """The learning rate of an update, counted from 0, out of ``updates``.

    Args:
        update: which one.
        updates: of the whole training, which the schedule spans.
        rate: the schedule.
        begin: the first update of the network whose rate it is; its warm-up begins there, and
            before it the rate is 0.
    """
    if update < begin:
        return 0.0
    progress = update / updates
    initial = rate.initial * min(1.0, (update - begin + 1) / (rate.warm_up + 1))
    if rate.schedule == "cosine":
        return initial * (1 + math.cos(math.pi * progress)) / 2
    if rate.schedule == "steps":
        return initial * rate.decay_factor ** sum(progress >= at for at in rate.decay_at)
    return initial


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let an optimizer take its next step at a rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
