"""Learning rates over the updates of a training."""

import math

from deepdepixelate.parameters import LearningRate


def learning_rate_at(update: int, updates: int, rate: LearningRate, begin: int = 0) -> float:
    """The learning rate of one update.

    Args:
        update: counted from 0.
        updates: of the whole training, which the schedule spans.
        rate: the schedule.
        begin: the first update in which the network is trained: the rate is 0 before it, and the
            warm-up starts with it.
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
