from pathlib import Path

import numpy as np
import pytest
from tiny_training import CPU, smooth_images, tiny_generator, write_pairs

from deepdepixelate.imaging.metrics import psnr_y, ssim_y
from deepdepixelate.models.inference import enlarge
from deepdepixelate.training.validation import Validator


@pytest.mark.parametrize(("asked", "taken"), [(3, 3), (18, 18), (1000, 19)])
def test_averages_over_the_first_images(tmp_path: Path, asked: int, taken: int) -> None:
    hr = smooth_images(19)
    pairs, generator = write_pairs(tmp_path, hr), tiny_generator()
    measured = Validator(pairs, asked, CPU)(generator)

    psnr, ssim = [], []
    for image in hr[:taken]:
        sr = enlarge(generator, image[None, ::4, ::4], CPU)[0]
        psnr.append(psnr_y(sr, image, 4))
        ssim.append(ssim_y(sr, image, 4))
    assert measured == {
        "val.psnr_y": pytest.approx(np.mean(psnr), abs=1e-3),
        "val.ssim_y": pytest.approx(np.mean(ssim), abs=1e-4),
    }


def test_leaves_the_generator_in_training(tmp_path: Path) -> None:
    generator = tiny_generator().train()
    Validator(write_pairs(tmp_path, smooth_images(2)), 2, CPU)(generator)

    assert generator.training
