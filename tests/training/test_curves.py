from collections.abc import Mapping

import torch

from deepdepixelate.training.curves import Window
from deepdepixelate.training.ranks import ALONE, Ranks


class WithAnotherRank(Ranks):
    """Two ranks, of which the other one always has three times this one's losses."""

    def average(self, values: Mapping[str, float]) -> dict[str, float]:
        return {name: (value + 3 * value) / 2 for name, value in values.items()}


def add(window: Window, *losses: float) -> None:
    for loss in losses:
        window.add({"loss": torch.tensor(loss)})


def test_reading_between_two_points_changes_nothing() -> None:
    window, undisturbed = Window(), Window()
    add(window, 0.1, 0.2)
    assert window.read(ALONE) == {"loss": 0.15000000596046448}  # of float32 sums
    add(window, 0.7)
    add(undisturbed, 0.1, 0.2, 0.7)
    assert window.read(ALONE) == undisturbed.read(ALONE)


def test_a_point_after_a_resumption_counts_all_ranks_losses_from_before_it() -> None:
    ranks = WithAnotherRank(count=2)
    window = Window()
    add(window, 1.0, 2.0)
    assert window.read(ranks) == {"loss": 3.0}  # at a checkpoint: own mean 1.5, the other's 4.5

    resumed = Window()
    resumed.restore(window.state())  # the writer's state, on any rank
    add(resumed, 6.0)
    sum_before, sum_since = 6.0, 6.0
    assert resumed.state()["count"] == 3
    both = resumed.read(ALONE)["loss"]
    assert both == (sum_before + sum_since) / 3


def test_a_new_point_begins_empty() -> None:
    window = Window()
    add(window, 5.0)
    window.read(ALONE)
    window.clear()
    add(window, 1.0)
    assert window.read(ALONE) == {"loss": 1.0}


def test_speed_leaves_out_what_came_before_the_clock_was_restarted() -> None:
    window = Window()
    add(window, *[1.0] * 1000)
    window.restart_clock()
    assert window.updates_per_second() == 0.0
    add(window, 1.0)
    assert window.updates_per_second() > 0.0
