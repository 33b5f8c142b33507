import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.shards import (
    ImageBatch,
    ImagePairs,
    ImageStream,
    ShardedImages,
    write_shards,
)
from deepdepixelate.datasets import ImageShards
from deepdepixelate.errors import UserError

Pixels = NDArray[np.uint8]


def make_pixels(count: int, shape: tuple[int, int, int] = (8, 16, 3), seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def make_names(count: int) -> list[str]:
    return [f"{number:06d}.jpg" for number in range(1, count + 1)]


def in_batches(pixels: Pixels, sizes: list[int]) -> Iterator[ImageBatch]:
    """Batches of the given sizes, over and over until all images are through."""
    names, done, turn = make_names(len(pixels)), 0, 0
    while done < len(pixels):
        end = done + sizes[turn % len(sizes)]
        yield ImageBatch(names[done:end], pixels[done:end])
        done, turn = end, turn + 1


def write(directory: Path, pixels: Pixels, per_shard: int = 4) -> ShardedImages:
    stream = ImageStream(in_batches(pixels, [3]))
    write_shards(directory, stream, split="train", images_per_shard=per_shard)
    return ShardedImages(directory)


def make_pairs(
    folder: Path, count: int, hr_per_shard: int = 4, lr_per_shard: int = 3
) -> ImagePairs:
    hr = write(folder / "hr", make_pixels(count), hr_per_shard)
    write_shards(folder / "lr", degrade(hr, 4), split="train", images_per_shard=lr_per_shard)
    return ImagePairs(hr, ShardedImages(folder / "lr"))


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def exists(directory: Path) -> bool:
    return ImageShards(filepath=str(directory), split="train", images_per_shard=4).exists()


def stack(images: ShardedImages) -> Pixels:
    return np.stack([images[index] for index in range(len(images))])


# -- round trip ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1], [3], [5, 1, 2], [11], [4]])
@pytest.mark.parametrize(
    ("per_shard", "counts"),
    [(4, [4, 4, 3]), (1, [1] * 11), (11, [11]), (100, [11]), (5, [5, 5, 1])],
)
def test_images_come_back_as_they_went(
    tmp_path: Path, sizes: list[int], per_shard: int, counts: list[int]
) -> None:
    pixels = make_pixels(11)
    stream = ImageStream(in_batches(pixels, sizes), details=lambda: {"kernel": "k", "scale": 4})
    written = write_shards(tmp_path, stream, split="val", images_per_shard=per_shard)

    images = ShardedImages(tmp_path)
    assert images.manifest == written
    assert len(images) == 11
    assert images.names == tuple(make_names(11))
    np.testing.assert_array_equal(stack(images), pixels)
    images.verify()

    loaded = [np.load(path) for path in sorted(tmp_path.glob("shard-*.npy"))]
    assert [len(part) for part in loaded] == counts
    np.testing.assert_array_equal(np.concatenate(loaded), pixels)


def test_the_manifest_describes_the_shards(tmp_path: Path) -> None:
    pixels = make_pixels(6)
    stream = ImageStream(in_batches(pixels, [4]), details=lambda: {"crop": "centre"})
    write_shards(tmp_path, stream, split="test", images_per_shard=4)

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["count"] == 6
    assert manifest["shape"] == [8, 16, 3]
    assert manifest["dtype"] == "uint8"
    assert manifest["split"] == "test"
    assert manifest["names"] == make_names(6)
    assert manifest["details"] == {"crop": "centre"}
    assert [shard["file"] for shard in manifest["shards"]] == files(tmp_path)[1:]
    assert [shard["count"] for shard in manifest["shards"]] == [4, 2]
    for shard in manifest["shards"]:
        content = (tmp_path / shard["file"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_details_are_asked_after_the_last_batch(tmp_path: Path) -> None:
    seen: list[str] = []

    def batches() -> Iterator[ImageBatch]:
        for batch in in_batches(make_pixels(5), [2]):
            seen.extend(batch.names)
            yield batch

    write_shards(
        tmp_path,
        ImageStream(batches(), details=lambda: {"seen": list(seen)}),
        split="train",
        images_per_shard=4,
    )
    assert ShardedImages(tmp_path).manifest.details == {"seen": make_names(5)}


def test_pixels_need_not_be_contiguous(tmp_path: Path) -> None:
    pixels = make_pixels(6, (8, 16, 3))[::2, :, ::-1]
    batch = ImageBatch(make_names(3), pixels)
    write_shards(tmp_path, ImageStream([batch]), split="train", images_per_shard=2)
    np.testing.assert_array_equal(stack(ShardedImages(tmp_path)), pixels)


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


def test_the_digest_tells_other_pixels_and_other_order_but_not_other_names(tmp_path: Path) -> None:
    pixels = make_pixels(6)
    digest = write(tmp_path / "a", pixels).manifest.digest
    assert write(tmp_path / "b", pixels).manifest.digest == digest
    assert write(tmp_path / "c", pixels[::-1]).manifest.digest != digest
    changed = pixels.copy()
    changed[5, 7, 15, 2] ^= 1
    assert write(tmp_path / "d", changed).manifest.digest != digest

    renamed = ImageStream([ImageBatch([f"other {n}" for n in range(6)], pixels)])
    assert write_shards(tmp_path / "e", renamed, split="val", images_per_shard=4).digest == digest


# -- writing over what was there -------------------------------------------------------------------


def test_a_shorter_dataset_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    write(tmp_path, make_pixels(11, seed=1))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "other.npy").write_bytes(b"mine too")
    pixels = make_pixels(3, seed=2)
    images = write(tmp_path, pixels)
    assert files(tmp_path) == ["manifest.json", "notes.txt", "other.npy", "shard-00000.npy"]
    np.testing.assert_array_equal(stack(images), pixels)
    images.verify()


def test_the_manifest_of_the_old_dataset_is_gone_before_a_shard_is_written(tmp_path: Path) -> None:
    write(tmp_path, make_pixels(5))
    there: list[bool] = []

    def batches() -> Iterator[ImageBatch]:
        for batch in in_batches(make_pixels(5), [2]):
            there.append(exists(tmp_path))
            yield batch

    write_shards(tmp_path, ImageStream(batches()), split="train", images_per_shard=2)
    assert there == [False, False, False]
    assert exists(tmp_path)


# -- what fails while writing ----------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_error_in_the_stream_leaves_no_dataset(
    tmp_path: Path, error: BaseException, earlier: bool
) -> None:
    if earlier:
        write(tmp_path, make_pixels(11))

    def batches() -> Iterator[ImageBatch]:
        yield from in_batches(make_pixels(7), [3])
        raise error

    with pytest.raises(type(error)):
        write_shards(tmp_path, ImageStream(batches()), split="train", images_per_shard=2)
    assert not (tmp_path / "manifest.json").exists()
    assert not exists(tmp_path)
    with pytest.raises(UserError, match=r"no complete dataset: manifest\.json is missing"):
        ShardedImages(tmp_path)


def test_an_error_in_the_details_leaves_no_dataset(tmp_path: Path) -> None:
    def details() -> dict[str, object]:
        raise RuntimeError("broken")

    stream = ImageStream(in_batches(make_pixels(3), [3]), details)
    with pytest.raises(RuntimeError, match="broken"):
        write_shards(tmp_path, stream, split="train", images_per_shard=2)
    assert not exists(tmp_path)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk, a write beyond this many bytes of any file fails with an OSError."""
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("count", "per_shard", "limit"),
    [
        pytest.param(2000, 2000, 300_000, id="in the middle of a large shard"),
        pytest.param(1500, 2000, 300_000, id="in the middle of the last shard"),
        pytest.param(4, 4, 1000, id="when a small full shard is closed"),
        pytest.param(3, 4, 1000, id="when a small last shard is finished"),
    ],
)
@pytest.mark.parametrize("earlier", [False, True])
def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, count: int, per_shard: int, limit: int, earlier: bool
) -> None:
    folder = tmp_path / "hr"
    if earlier:
        write(folder, make_pixels(11))
    stream = ImageStream(in_batches(make_pixels(count), [64]))
    with no_file_larger_than(limit), pytest.raises(UserError) as caught:
        write_shards(folder, stream, split="train", images_per_shard=per_shard)
    assert str(folder) in str(caught.value)
    assert "make room" in str(caught.value)
    assert files(folder) == []
    assert not exists(folder)


def test_a_disk_that_fills_up_with_the_manifest_leaves_nothing(tmp_path: Path) -> None:
    names = [f"{number}-{'x' * 500}.jpg" for number in range(40)]
    stream = ImageStream([ImageBatch(names, make_pixels(40, (1, 1, 3)))])
    with no_file_larger_than(10_000), pytest.raises(UserError, match="make room"):
        write_shards(tmp_path, stream, split="train", images_per_shard=20)
    assert files(tmp_path) == []


def test_after_a_full_disk_the_same_folder_can_be_written(tmp_path: Path) -> None:
    pixels = make_pixels(10)
    with no_file_larger_than(1000), pytest.raises(UserError):
        write(tmp_path, pixels)
    np.testing.assert_array_equal(stack(write(tmp_path, pixels)), pixels)


@pytest.mark.parametrize("where", ["hr", "hr/train"])
def test_a_file_where_the_folder_should_be_is_reported(tmp_path: Path, where: str) -> None:
    (tmp_path / "hr").write_text("a file")
    with pytest.raises(UserError, match="is not a folder but a file"):
        write(tmp_path / where, make_pixels(3))
    assert (tmp_path / "hr").read_text() == "a file"


@pytest.mark.parametrize("batches", [[], [ImageBatch([], np.empty((0, 8, 16, 3), np.uint8))]])
def test_a_stream_without_images_is_reported(tmp_path: Path, batches: list[ImageBatch]) -> None:
    with pytest.raises(UserError, match="no usable images for the val split"):
        write_shards(tmp_path, ImageStream(batches), split="val", images_per_shard=4)
    assert not exists(tmp_path)


def test_an_empty_batch_between_others_changes_nothing(tmp_path: Path) -> None:
    pixels = make_pixels(5)
    empty = ImageBatch([], pixels[:0])
    full = list(in_batches(pixels, [3]))
    batches = [full[0], empty, full[1], empty]
    write_shards(tmp_path, ImageStream(batches), split="train", images_per_shard=4)
    np.testing.assert_array_equal(stack(ShardedImages(tmp_path)), pixels)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 8, 15, 3), np.uint8),
        np.zeros((2, 8, 16, 1), np.uint8),
        np.zeros((2, 8, 16, 3), np.float32),
        np.zeros((2, 8, 16, 3), np.int8),
    ],
)
def test_images_of_another_kind_in_the_stream_are_refused(
    tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    batches = [ImageBatch(["a", "b"], make_pixels(2)), ImageBatch(["c", "d"], pixels)]
    with pytest.raises(ValueError, match=r"among \(8, 16, 3\)"):
        write_shards(tmp_path, ImageStream(batches), split="train", images_per_shard=3)
    assert not exists(tmp_path)


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
    with pytest.raises(UserError, match=r"shard-00001\.npy is missing"):
        ShardedImages(tmp_path)


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
    with pytest.raises(UserError, match=rf"{path.name} is damaged"):
        ShardedImages(tmp_path).verify()


# -- pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(("hr_per_shard", "lr_per_shard"), [(4, 4), (4, 3), (3, 11)])
def test_pairs_stay_together(
    tmp_path: Path, size: int, hr_per_shard: int, lr_per_shard: int
) -> None:
    pairs = make_pairs(tmp_path, 11, hr_per_shard, lr_per_shard)
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
    with pytest.raises(UserError, match="kedro run --pipeline degrade"):
        ImagePairs(others, lr)


def test_lr_with_other_names_is_refused(tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path, 5)
    renamed = ImageStream([ImageBatch([f"{n}.png" for n in range(5)], make_pixels(5))])
    write_shards(tmp_path / "hr", renamed, split="train", images_per_shard=4)
    with pytest.raises(UserError, match="was not made from"):
        ImagePairs(ShardedImages(tmp_path / "hr"), pairs.lr)


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
