from pathlib import Path

import numpy as np
import pytest
from tiny_training import CPU, smooth_images, tiny_generator, write_pairs

from deepdepixelate.metrics.psnr_ssim import psnr_y, ssim_y
from deepdepixelate.metrics.spectrum import spectrum
from deepdepixelate.metrics.st_lpips import st_lpips
from deepdepixelate.models.enlarge import enlarge
from deepdepixelate.training.validation import Validator


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
