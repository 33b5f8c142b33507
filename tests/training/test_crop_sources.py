from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import CPU, smooth_images, write_pairs

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.training.crops import (
    CropPositions,
    CropSampler,
    CropSource,
    MappedCropSource,
    ResidentCropSource,
    fits_on_device,
)
from deepdepixelate.training.distributed import Ranks


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ImagePairs:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 24, 32, 3), dtype=np.uint8)
    return write_pairs(tmp_path_factory.mktemp("pixels"), pixels, scale=4)


def test_resident_images_give_the_crops_of_mapped_ones(pairs: ImagePairs) -> None:
    kinds = [
        CropSampler(pairs, crop_size=16, batch_size=9, seed=3, device=CPU, resident=resident)
        for resident in (False, True)
    ]
    for update in range(20):
        (lr, hr), (resident_lr, resident_hr) = (crops.batch(update) for crops in kinds)
        assert torch.equal(lr, resident_lr)
        assert torch.equal(hr, resident_hr)
        assert resident_hr.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", [MappedCropSource, ResidentCropSource])
def test_cuts_at_the_positions(pairs: ImagePairs, kind: type[CropSource]) -> None:
    positions = CropPositions(
        np.array([6, 0]), np.array([8, 0]), np.array([16, 3]), np.array([False, True])
    )
    crops = kind(pairs.hr, CPU).cut(positions, 16, 16).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(crops[0], pairs.hr[6][8:24, 16:32])
    np.testing.assert_array_equal(crops[1], pairs.hr[0][0:16, 3:19][:, ::-1])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ranks_share_the_batch_of_one(pairs: ImagePairs, count: int) -> None:
    def batch(ranks: Ranks) -> tuple[torch.Tensor, torch.Tensor]:
        crops = CropSampler(pairs, crop_size=8, batch_size=6, seed=0, device=CPU, ranks=ranks)
        return crops.batch(5)

    whole = batch(Ranks())
    parts = [batch(Ranks(rank=rank, count=count)) for rank in range(count)]
    for kind in (0, 1):
        assert torch.equal(whole[kind], torch.cat([part[kind] for part in parts]))


def test_only_a_gpu_holds_images(tmp_path: Path) -> None:
    small = write_pairs(tmp_path, smooth_images(2), scale=4)
    assert not fits_on_device(small, CPU)
