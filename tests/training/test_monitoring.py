from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import CPU, smooth_images, tiny_generator, write_pairs

from deepdepixelate.metrics.psnr_ssim import psnr_y, ssim_y
from deepdepixelate.metrics.spectrum import spectrum
from deepdepixelate.metrics.st_lpips import st_lpips
from deepdepixelate.models.enlarge import enlarge
from deepdepixelate.training.distributed import ALONE, Ranks
from deepdepixelate.training.monitoring import LossAverager, Validator


class WithAnotherRank(Ranks):
    """Two ranks, of which the other one always has three times this one's losses."""

    def average(self, values: Mapping[str, float]) -> dict[str, float]:
        return {name: (value + 3 * value) / 2 for name, value in values.items()}


def add(averager: LossAverager, *losses: float) -> None:
    for loss in losses:
        averager.add({"loss": torch.tensor(loss)})


def test_reading_between_two_points_changes_nothing() -> None:
    averager, undisturbed = LossAverager(), LossAverager()
    add(averager, 0.1, 0.2)
    assert averager.means(ALONE) == {"loss": 0.15000000596046448}  # of float32 sums
    add(averager, 0.7)
    add(undisturbed, 0.1, 0.2, 0.7)
    assert averager.means(ALONE) == undisturbed.means(ALONE)


def test_a_point_after_a_resumption_counts_all_ranks_losses_from_before_it() -> None:
    ranks = WithAnotherRank(count=2)
    averager = LossAverager()
    add(averager, 1.0, 2.0)
    assert averager.means(ranks) == {"loss": 3.0}  # at a checkpoint: own mean 1.5, the other's 4.5

    resumed = LossAverager()
    resumed.load_state_dict(averager.state_dict())  # the writer's state, on any rank
    add(resumed, 6.0)
    sum_before, sum_since = 6.0, 6.0
    assert resumed.state_dict()["count"] == 3
    both = resumed.means(ALONE)["loss"]
    assert both == (sum_before + sum_since) / 3


def test_a_new_point_begins_empty() -> None:
    averager = LossAverager()
    add(averager, 5.0)
    averager.means(ALONE)
    averager.reset()
    add(averager, 1.0)
    assert averager.means(ALONE) == {"loss": 1.0}


def test_speed_leaves_out_what_came_before_the_clock_was_restarted() -> None:
    averager = LossAverager()
    add(averager, *[1.0] * 1000)
    averager.restart_clock()
    assert averager.updates_per_second() == 0.0
    add(averager, 1.0)
    assert averager.updates_per_second() > 0.0


@pytest.mark.parametrize(("asked", "taken"), [(3, 3), (18, 18), (1000, 19)])
def test_averages_over_the_first_images(tmp_path: Path, asked: int, taken: int) -> None:
    hr = smooth_images(19)
    pairs, generator = write_pairs(tmp_path, hr), tiny_generator()
    measured = Validator(pairs, asked, CPU)(generator)

    psnr, ssim, distances, detail = [], [], [], []
    for image in hr[:taken]:
        sr = enlarge(generator, image[None, ::4, ::4], CPU)[0]
        psnr.append(psnr_y(sr, image, 4))
        ssim.append(ssim_y(sr, image, 4))
        distances.append(st_lpips(sr, image))
        energies = [spectrum(each, 4, 4).high_frequency_energy for each in (sr, image)]
        detail.append(energies[0] / energies[1])
    assert measured == {
        "val.psnr_y": pytest.approx(np.mean(psnr), abs=1e-3),
        "val.ssim_y": pytest.approx(np.mean(ssim), abs=1e-4),
        "val.st_lpips": pytest.approx(np.mean(distances), abs=1e-4),
        "val.high_frequency_ratio": pytest.approx(np.mean(detail), rel=1e-2),
    }


def test_images_without_detail_have_no_share_of_it(tmp_path: Path) -> None:
    hr = smooth_images(3)
    hr[1] = 90
    generator = tiny_generator()
    with_flat = Validator(write_pairs(tmp_path / "some", hr), 3, CPU)(generator)
    without = Validator(write_pairs(tmp_path / "rest", hr[[0, 2]]), 2, CPU)(generator)
    flat = Validator(write_pairs(tmp_path / "flat", hr[[1]]), 1, CPU)(generator)
    name = "val.high_frequency_ratio"
    assert with_flat[name] == pytest.approx(without[name], rel=1e-2)
    assert name not in flat


def test_images_too_small_for_the_network_have_no_st_lpips(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, smooth_images(2, height=20, width=32))
    measured = Validator(pairs, 2, CPU)(tiny_generator())
    assert set(measured) == {"val.psnr_y", "val.ssim_y", "val.high_frequency_ratio"}


def test_leaves_the_generator_in_training(tmp_path: Path) -> None:
    generator = tiny_generator().train()
    Validator(write_pairs(tmp_path, smooth_images(2)), 2, CPU)(generator)

    assert generator.training
