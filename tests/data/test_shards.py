import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from stored_images import store_images

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.errors import UserError

Pixels = NDArray[np.uint8]


def make_pixels(count: int, shape: tuple[int, int, int] = (8, 16, 3), seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def make_names(count: int) -> list[str]:
    return [f"{number:06d}.jpg" for number in range(1, count + 1)]


def write(directory: Path, pixels: Pixels, per_shard: int = 4) -> ShardedImages:
    names = make_names(len(pixels))
    return store_images(directory, names, pixels, split="train", per_shard=per_shard)


def make_pairs(folder: Path, count: int, per_shard: int = 4) -> ImagePairs:
    hr = write(folder / "hr", make_pixels(count), per_shard)
    write_dataset(folder / "lr", degrade(hr, 4), split="train")
    return ImagePairs(hr, ShardedImages(folder / "lr"))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
def test_batches_give_all_images_in_order(tmp_path: Path, size: int) -> None:
    pixels = make_pixels(11)
    batches = list(write(tmp_path, pixels).batches(size))
    assert all(1 <= len(batch.names) <= size for batch in batches)
    assert all(len(batch.names) == len(batch.pixels) for batch in batches)
    assert [name for batch in batches for name in batch.names] == make_names(11)
    np.testing.assert_array_equal(np.concatenate([batch.pixels for batch in batches]), pixels)


def test_an_index_out_of_range_is_an_index_error(tmp_path: Path) -> None:
    images = write(tmp_path, make_pixels(5))
    for index in (5, 100, -1):
        with pytest.raises(IndexError, match=f"image {index} of 5"):
            images[index]


def test_images_are_read_only_views(tmp_path: Path) -> None:
    image = write(tmp_path, make_pixels(5))[3]
    assert image.shape == (8, 16, 3)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1


# -- what is damaged when reading ------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 128, 129, 1536])
def test_a_shard_cut_short_is_reported(tmp_path: Path, lost: int) -> None:
    write(tmp_path, make_pixels(8))
    shard = tmp_path / "shard-00001.npy"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) - lost])
    with pytest.raises(UserError, match=r"shard-00001\.npy is missing or cut short"):
        ShardedImages(tmp_path)


def test_a_missing_shard_is_reported(tmp_path: Path) -> None:
    write(tmp_path, make_pixels(8))
    (tmp_path / "shard-00001.npy").unlink()
    with pytest.raises(UserError, match=r"shard-00001\.npy is missing") as caught:
        ShardedImages(tmp_path)
    assert "(with the same --env and --params)" in str(caught.value)


def test_a_damaged_manifest_is_reported(tmp_path: Path) -> None:
    write(tmp_path, make_pixels(3))
    path = tmp_path / "manifest.json"
    content = path.read_bytes()
    fields = json.loads(content)
    lacking = {name: value for name, value in fields.items() if name != "names"}
    for damaged in (
        content[: len(content) // 2],
        b"",
        b"\x00" * len(content),
        b"\xff\xfe" + content,
        b"[]",
        json.dumps(lacking).encode(),
        json.dumps({**fields, "surplus": 1}).encode(),
        json.dumps({**fields, "count": "many"}).encode(),
        json.dumps({**fields, "shape": [8, 16]}).encode(),
        json.dumps({**fields, "count": 2}).encode(),
        json.dumps({**fields, "split": "val"}).encode(),
        json.dumps({**fields, "names": [*fields["names"][:2], "other.jpg"]}).encode(),
        json.dumps({**fields, "details": {"scale": 2}}).encode(),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"manifest\.json is damaged"):
            ShardedImages(tmp_path)


@pytest.mark.parametrize("shard", [0, 1, 2])
def test_verify_finds_a_single_changed_byte(tmp_path: Path, shard: int) -> None:
    write(tmp_path, make_pixels(11))
    path = tmp_path / f"shard-{shard:05d}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name} is damaged\."):
        ShardedImages(tmp_path).verify()


# -- pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("per_shard", [3, 4, 11])
def test_pairs_stay_together(tmp_path: Path, size: int, per_shard: int) -> None:
    pairs = make_pairs(tmp_path, 11, per_shard)
    assert len(pairs) == 11
    assert pairs.scale == 4
    pairs.verify()
    names: list[str] = []
    for hr, lr in pairs.batches(size):
        assert hr.names == lr.names
        for name, original, shrunk in zip(hr.names, hr.pixels, lr.pixels, strict=True):
            index = pairs.hr.names.index(name)
            np.testing.assert_array_equal(original, pairs.hr[index])
            np.testing.assert_array_equal(shrunk, pairs.lr[index])
        names += hr.names
    assert names == make_names(11)


def test_lr_made_from_other_hr_is_refused(tmp_path: Path) -> None:
    lr = make_pairs(tmp_path, 5).lr
    others = write(tmp_path / "hr", make_pixels(5, seed=9))
    with pytest.raises(UserError, match=r"--pipeline degrade \(with the same --env and --params"):
        ImagePairs(others, lr)


def test_lr_with_other_names_is_refused(tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path, 5)
    renamed = store_images(tmp_path / "hr", [f"{n}.png" for n in range(5)], make_pixels(5))
    with pytest.raises(UserError, match="was not made from"):
        ImagePairs(renamed, pairs.lr)


def test_hr_does_not_pass_for_lr(tmp_path: Path) -> None:
    hr = write(tmp_path, make_pixels(5))
    with pytest.raises(UserError, match="was not made from"):
        ImagePairs(hr, hr)


@pytest.mark.parametrize("which", ["hr", "lr"])
def test_pairs_verify_both_sides(tmp_path: Path, which: str) -> None:
    pairs = make_pairs(tmp_path, 5)
    path = tmp_path / which / "shard-00000.npy"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        pairs.verify()


def test_a_manifest_of_an_earlier_version_is_reported(tmp_path: Path) -> None:
    write(tmp_path, make_pixels(3))
    path = tmp_path / "manifest.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({name: fields[name] for name in fields if name != "seal"}))
    with pytest.raises(UserError, match=r"written by an earlier version\. Run kedro run"):
        ShardedImages(tmp_path)


def test_a_shard_that_is_cut_short_while_it_is_read_is_reported(tmp_path: Path) -> None:
    images = write(tmp_path, make_pixels(8))
    shard = tmp_path / "shard-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shard-00001\.npy is cut short"):
        list(images.batches(4))
