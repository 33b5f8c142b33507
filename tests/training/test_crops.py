from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_training import CPU, smooth_images, write_pairs

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError
from deepdepixelate.training.crops import CropSampler

COUNT, HEIGHT, WIDTH, SCALE = 6, 24, 32, 4


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ImagePairs:
    """Every pixel says where it is: (image, row, column)."""
    grid = np.indices((COUNT, HEIGHT, WIDTH)).transpose(1, 2, 3, 0).astype(np.uint8)
    return write_pairs(tmp_path_factory.mktemp("crops"), np.ascontiguousarray(grid), scale=SCALE)


def sampler(
    pairs: ImagePairs, *, crop_size: int = 16, batch_size: int = 8, seed: int = 0
) -> CropSampler:
    return CropSampler(pairs, crop_size=crop_size, batch_size=batch_size, seed=seed, device=CPU)


def batch(sampler: CropSampler, update: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """LR and HR of an update as (N, H, W, C)."""
    lr, hr = sampler.batch(update)
    return lr.permute(0, 2, 3, 1).numpy(), hr.permute(0, 2, 3, 1).numpy()


def test_batches_are_uint8_channels_first_and_channels_last_in_memory(pairs: ImagePairs) -> None:
    lr, hr = sampler(pairs).batch(0)

    assert lr.shape == (8, 3, 4, 4)
    assert hr.shape == (8, 3, 16, 16)
    for images in (lr, hr):
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_update_decides_the_crops_whatever_was_asked_before(pairs: ImagePairs) -> None:
    in_order, backwards = sampler(pairs), sampler(pairs)
    forth = {update: batch(in_order, update) for update in range(12)}
    back = {update: batch(backwards, update) for update in reversed(range(12))}

    for update in range(12):
        assert np.array_equal(forth[update][0], back[update][0])
        assert np.array_equal(forth[update][1], back[update][1])


def test_global_random_state_neither_decides_nor_changes(pairs: ImagePairs) -> None:
    crops = sampler(pairs)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what this is about
    first = batch(crops, 3)[1]
    state = torch.get_rng_state()
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    second = batch(crops, 3)[1]
    torch.manual_seed(1)

    assert np.array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_other_updates_and_seeds_see_other_crops(pairs: ImagePairs) -> None:
    seen = {
        batch(sampler(pairs, seed=seed), update)[1].tobytes()
        for seed in range(4)
        for update in (0, 1, 2, 1000, 10**6, 10**9)
    }

    assert len(seen) == 4 * 6


def test_crops_can_be_whole_images(pairs: ImagePairs) -> None:
    crops = CropSampler(pairs, crop_size=None, batch_size=8, seed=0, device=CPU)
    lr, hr = batch(crops, 3)
    positions = crops.positions(3)
    assert 0 < positions.flips.sum() < 8
    for row, (index, flip) in enumerate(zip(positions.images, positions.flips, strict=True)):
        step = -1 if flip else 1
        assert np.array_equal(hr[row], pairs.hr[int(index)][:, ::step])
        assert np.array_equal(lr[row], pairs.lr[int(index)][:, ::step])


def test_lr_and_hr_show_the_same_place(pairs: ImagePairs) -> None:
    crops = sampler(pairs)
    mirrored = straight = 0
    for update in range(20):
        flips = crops.positions(update).flips
        for lr, hr, flip in zip(*batch(crops, update), flips, strict=True):
            columns = hr[0, :, 2].astype(int)
            assert set(np.diff(columns)) == ({-1} if flip else {1})
            upright_lr, upright_hr = (lr[:, ::-1], hr[:, ::-1]) if flip else (lr, hr)
            assert np.array_equal(upright_lr, upright_hr[::SCALE, ::SCALE])
            assert np.array_equal(np.diff(upright_hr[:, 0, 1].astype(int)), np.ones(15))
            assert len(np.unique(hr[..., 0])) == 1
            mirrored, straight = mirrored + bool(flip), straight + (not flip)
    assert mirrored > 0
    assert straight > 0


def test_every_place_and_image_is_drawn_and_half_are_mirrored(pairs: ImagePairs) -> None:
    crops = sampler(pairs, batch_size=32)
    tops, lefts, images, flips = set(), set(), set(), []
    for update in range(40):
        for lr in batch(crops, update)[0]:
            flip = lr[0, 0, 2] > lr[0, -1, 2]
            flips.append(flip)
            images.add(int(lr[0, 0, 0]))
            tops.add(int(lr[0, 0, 1]) // SCALE)
            lefts.add(int(lr[0, -1 if flip else 0, 2]) // SCALE)

    assert tops == set(range((HEIGHT - 16) // SCALE + 1))
    assert lefts == set(range((WIDTH - 16) // SCALE + 1))
    assert images == set(range(COUNT))
    assert 0.45 < np.mean(flips) < 0.55


def test_crop_may_be_as_large_as_the_smaller_side(pairs: ImagePairs) -> None:
    lr, hr = sampler(pairs, crop_size=HEIGHT).batch(0)

    assert lr.shape[-2:] == (HEIGHT // SCALE, HEIGHT // SCALE)
    assert hr.shape[-2:] == (HEIGHT, HEIGHT)


@pytest.mark.parametrize("crop_size", [18, 15, HEIGHT + SCALE, WIDTH, 96])
def test_crop_that_does_not_fit_is_refused(pairs: ImagePairs, crop_size: int) -> None:
    with pytest.raises(UserError, match=rf"scale \(4\) and at most 24.*is {crop_size}"):
        sampler(pairs, crop_size=crop_size)


@pytest.mark.parametrize("scale", [2, 8])
def test_other_scales_are_aligned_too(tmp_path: Path, scale: int) -> None:
    crops = sampler(write_pairs(tmp_path, smooth_images(3), scale=scale))
    for lr, hr, flip in zip(*batch(crops, 0), crops.positions(0).flips, strict=True):
        if flip:
            assert np.array_equal(lr[:, ::-1], hr[:, ::-1][::scale, ::scale])
        else:
            assert np.array_equal(lr, hr[::scale, ::scale])
