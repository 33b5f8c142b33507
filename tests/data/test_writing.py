import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stored_images import FromMemory, plan_images, store_images

from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.data.writing import (
    ROWS,
    DatasetPlan,
    MadeImages,
    ShardTask,
    write_dataset,
)
from deepdepixelate.errors import UserError
from deepdepixelate.parallel import LocalEngine

Pixels = NDArray[np.uint8]


def make_pixels(count: int, shape: tuple[int, int, int] = (8, 16, 3), seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def make_names(count: int) -> list[str]:
    return [f"{number:06d}.jpg" for number in range(1, count + 1)]


def make_plan(pixels: Pixels, **changed: Any) -> DatasetPlan:
    return plan_images(make_names(len(pixels)), pixels, **changed)


def stack(images: ShardedImages) -> Pixels:
    return np.stack([images[index] for index in range(len(images))])


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@dataclass(frozen=True)
class Watched:
    """Makes the images of another maker, and notes which shards it was asked for."""

    make: FromMemory
    asked: list[int]

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        self.asked.append(task.index)
        return self.make(task, threads)


def watched(plan: DatasetPlan) -> tuple[DatasetPlan, list[int]]:
    asked: list[int] = []
    assert isinstance(plan.make, FromMemory)
    return replace(plan, make=Watched(plan.make, asked)), asked


# -- round trip ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize(
    ("per_shard", "counts"),
    [(4, [4, 4, 3]), (1, [1] * 11), (11, [11]), (100, [11]), (5, [5, 5, 1])],
)
def test_images_come_back_as_they_went(
    tmp_path: Path, workers: int, per_shard: int, counts: list[int]
) -> None:
    pixels = make_pixels(11)
    details = {"kernel": "k", "scale": 4}
    plan = make_plan(pixels, per_shard=per_shard, details=details, engine=LocalEngine(workers))
    written = write_dataset(tmp_path, plan, split="val")

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
    write_dataset(tmp_path, make_plan(make_pixels(6), details={"crop": "centre"}), split="test")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["count"] == 6
    assert manifest["shape"] == [8, 16, 3]
    assert manifest["dtype"] == "uint8"
    assert manifest["split"] == "test"
    assert manifest["names"] == make_names(6)
    assert manifest["details"] == {"crop": "centre"}
    assert [shard["count"] for shard in manifest["shards"]] == [4, 2]
    for number, shard in enumerate(manifest["shards"]):
        assert shard["file"] == f"shard-{number:05d}.npy"
        content = (tmp_path / shard["file"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Dropping:
    """Makes images, without those whose number is in ``lost``; with a list and a table row each."""

    pixels: Pixels
    lost: tuple[int, ...]

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        for name in task.names:
            number = int(name.split(".")[0]) - 1
            if number in self.lost:
                yield MadeImages([], self.pixels[:0], {"rejected": [name]})
            else:
                details: dict[str, list[Any]] = {
                    "even": [number % 2 == 0],
                    "rejected": [],
                    ROWS: [{"number": number}],
                }
                yield MadeImages([name], self.pixels[number : number + 1], details)


def test_unusable_images_leave_a_shorter_shard_or_none(tmp_path: Path) -> None:
    pixels = make_pixels(12)
    lost = (1, 4, 5, 6, 7)  # of shard 0 one, of shard 1 all
    plan = make_plan(pixels, details={"scale": 4}, make=Dropping(pixels, lost))
    for _ in range(2):  # the second time all shards are kept, the one without a file too
        manifest = write_dataset(tmp_path, plan, split="train")
        kept = [number for number in range(12) if number not in lost]
        images = ShardedImages(tmp_path)
        images.verify()
        np.testing.assert_array_equal(stack(images), pixels[kept])
        assert [shard.file for shard in manifest.shards] == ["shard-00000.npy", "shard-00002.npy"]
        assert manifest.details == {
            "scale": 4,
            "even": [number % 2 == 0 for number in kept],
            "rejected": [make_names(12)[number] for number in lost],
        }
        table = (tmp_path / "degradations.csv").read_text().split()
        assert table == ["number", *map(str, kept)]
        assert len(np.load(tmp_path / "shard-00000.npy")) == 3


def test_pixels_need_not_be_contiguous(tmp_path: Path) -> None:
    pixels = make_pixels(6, (8, 16, 3))[::2, :, ::-1]
    np.testing.assert_array_equal(stack(store_images(tmp_path, make_names(3), pixels)), pixels)


def test_the_digest_depends_on_pixels_and_order_but_not_on_names(tmp_path: Path) -> None:
    pixels = make_pixels(6)
    names = make_names(6)
    digest = store_images(tmp_path / "a", names, pixels).manifest.digest
    assert store_images(tmp_path / "b", names, pixels).manifest.digest == digest
    assert store_images(tmp_path / "c", names, pixels[::-1]).manifest.digest != digest
    changed = pixels.copy()
    changed[5, 7, 15, 2] ^= 1
    assert store_images(tmp_path / "d", names, changed).manifest.digest != digest
    renamed = [f"other {name}" for name in names]
    assert store_images(tmp_path / "e", renamed, pixels, split="val").manifest.digest == digest


# -- finished shards are kept ----------------------------------------------------------------------


def test_a_finished_dataset_is_kept(tmp_path: Path) -> None:
    pixels = make_pixels(11)
    first = write_dataset(tmp_path, make_plan(pixels), split="train")
    before = contents(tmp_path)
    plan, asked = watched(make_plan(pixels))
    assert write_dataset(tmp_path, plan, split="train") == first
    assert asked == []
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damage", ["byte", "short", "gone", "no part", "damaged part"])
def test_only_a_damaged_shard_is_made_again(tmp_path: Path, damage: str) -> None:
    pixels = make_pixels(11)
    write_dataset(tmp_path, make_plan(pixels), split="train")
    before = contents(tmp_path)
    shard, part = tmp_path / "shard-00001.npy", tmp_path / "shard-00001.json"
    content = bytearray(shard.read_bytes())
    if damage == "byte":
        content[-1] ^= 1
        shard.write_bytes(content)
    elif damage == "short":
        shard.write_bytes(content[:-1])
    elif damage == "gone":
        shard.unlink()
    elif damage == "no part":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:100])
    plan, asked = watched(make_plan(pixels))
    write_dataset(tmp_path, plan, split="train")
    assert asked == [1]
    assert contents(tmp_path) == before


def test_only_shards_of_changed_images_are_made_again(tmp_path: Path) -> None:
    pixels = make_pixels(11)
    write_dataset(tmp_path, make_plan(pixels), split="train")
    pixels[9, 0, 0, 0] ^= 1
    plan, asked = watched(make_plan(pixels))
    write_dataset(tmp_path, plan, split="train")
    assert asked == [2]
    np.testing.assert_array_equal(stack(ShardedImages(tmp_path)), pixels)


def test_a_shorter_dataset_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    store_images(tmp_path, make_names(11), make_pixels(11, seed=1))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "other.npy").write_bytes(b"mine too")
    (tmp_path / "shard-00000.npy.0123.tmp").write_bytes(b"of a killed run")
    pixels = make_pixels(3, seed=2)
    images = store_images(tmp_path, make_names(3), pixels)
    ours = ["manifest.json", "shard-00000.json", "shard-00000.npy"]
    assert files(tmp_path) == sorted([*ours, "notes.txt", "other.npy"])
    np.testing.assert_array_equal(stack(images), pixels)
    images.verify()


@dataclass(frozen=True)
class Looking:
    """Notes whether there is a manifest while shards are made."""

    make: FromMemory
    manifest: Path
    seen: list[bool]

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        self.seen.append(self.manifest.exists())
        return self.make(task, threads)


def test_the_manifest_of_the_old_dataset_is_gone_before_a_shard_is_written(tmp_path: Path) -> None:
    store_images(tmp_path, make_names(5), make_pixels(5))
    seen: list[bool] = []
    pixels = make_pixels(5, seed=1)
    look = Looking(FromMemory(pixels, 4), tmp_path / "manifest.json", seen)
    write_dataset(tmp_path, make_plan(pixels, make=look), split="train")
    assert seen == [False, False]


PROGRAM = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from stored_images import FromMemory, plan_images
from deepdepixelate.data.writing import write_dataset

pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 16, 3), dtype=np.uint8)

class Slow(FromMemory):
    def __call__(self, task, threads):
        for made in super().__call__(task, threads):
            time.sleep(0.05)
            yield made

names = [f"{number:06d}.jpg" for number in range(1, 41)]
write_dataset(Path(sys.argv[1]), plan_images(names, pixels, make=Slow(pixels, 4)), split="train")
"""


@pytest.mark.parametrize("finished", [1, 4])
def test_after_a_sigkill_the_same_command_continues(tmp_path: Path, finished: int) -> None:
    pixels = make_pixels(40)
    store_images(tmp_path / "whole", make_names(40), pixels, split="train")
    folder = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], env=environment)
    deadline = monotonic() + 60
    while len(list(folder.glob("shard-*.json"))) < finished and monotonic() < deadline:
        sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(UserError, match=r"no complete dataset: manifest\.json is missing"):
        ShardedImages(folder)
    there = {path.stem for path in folder.glob("shard-*.json") if path.with_suffix(".npy").exists()}
    assert finished <= len(there) < 10
    plan, asked = watched(make_plan(pixels))
    write_dataset(folder, plan, split="train")
    assert not {f"shard-{index:05d}" for index in asked} & there
    assert contents(folder) == contents(tmp_path / "whole")


# -- what fails while writing ----------------------------------------------------------------------


@dataclass(frozen=True)
class Failing:
    """Makes the first shards, then raises an error in the middle of one."""

    make: FromMemory
    error: BaseException
    at: int = 2

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        for made in self.make(task, threads):
            yield made
            if task.index == self.at:
                raise self.error


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_error_leaves_no_dataset_but_the_finished_shards(
    tmp_path: Path, error: BaseException, earlier: bool
) -> None:
    if earlier:
        store_images(tmp_path, make_names(11), make_pixels(11, seed=1))
    pixels = make_pixels(11)
    failing = make_plan(pixels, make=Failing(FromMemory(pixels, 4), error), engine=LocalEngine(1))
    with pytest.raises(type(error)):
        write_dataset(tmp_path, failing, split="train")
    with pytest.raises(UserError, match=r"no complete dataset: manifest\.json is missing"):
        ShardedImages(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
    plan, asked = watched(make_plan(pixels))
    write_dataset(tmp_path, plan, split="train")
    assert asked == [2]
    np.testing.assert_array_equal(stack(ShardedImages(tmp_path)), pixels)


def test_an_error_of_the_check_stops_the_run(tmp_path: Path) -> None:
    def check(details: object) -> None:
        raise UserError("too many")

    with pytest.raises(UserError, match="too many"):
        write_dataset(tmp_path, make_plan(make_pixels(3), check=check), split="train")
    assert not (tmp_path / "manifest.json").exists()


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
        pytest.param(4, 4, 1000, id="when a small shard is closed"),
    ],
)
@pytest.mark.parametrize("earlier", [False, True])
def test_a_full_disk_is_reported(
    tmp_path: Path, count: int, per_shard: int, limit: int, earlier: bool
) -> None:
    folder = tmp_path / "hr"
    if earlier:
        store_images(folder, make_names(11), make_pixels(11, seed=1))
    plan = make_plan(make_pixels(count), per_shard=per_shard)
    with no_file_larger_than(limit), pytest.raises(UserError) as caught:
        write_dataset(folder, plan, split="train")
    assert str(folder) in str(caught.value)
    assert "Make room" in str(caught.value)
    assert not (folder / "manifest.json").exists()
    assert not list(folder.glob("*.tmp"))


def test_after_a_full_disk_the_finished_shards_are_used(tmp_path: Path) -> None:
    pixels = make_pixels(1010)
    small, large = pixels[:10], pixels[10:]
    tasks = [*make_plan(small, per_shard=10).tasks]
    second = replace(tasks[0], index=1, names=tuple(make_names(1010)[10:]), key="another")
    plan = replace(make_plan(pixels), tasks=[*tasks, second], make=TwoShards(small, large))
    with no_file_larger_than(100_000), pytest.raises(UserError, match="finished shards are kept"):
        write_dataset(tmp_path, plan, split="train")
    assert files(tmp_path) == ["shard-00000.json", "shard-00000.npy"]
    changed = (tmp_path / "shard-00000.npy").stat().st_mtime_ns
    write_dataset(tmp_path, plan, split="train")
    assert (tmp_path / "shard-00000.npy").stat().st_mtime_ns == changed
    np.testing.assert_array_equal(stack(ShardedImages(tmp_path)), pixels)


@dataclass(frozen=True)
class TwoShards:
    first: Pixels
    second: Pixels

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        yield MadeImages(task.names, self.second if task.index else self.first)


@dataclass(frozen=True)
class WritingTwice:
    """Begins another run of the same plan while a shard is made."""

    make: FromMemory
    directory: Path

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        second = replace(make_plan(self.make.pixels), tasks=[task])
        with pytest.raises(UserError, match=rf"another run writes to {self.directory}: wait"):
            write_dataset(self.directory, second, split="train")
        return self.make(task, threads)


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    pixels = make_pixels(10)
    plan = make_plan(pixels)
    assert isinstance(plan.make, FromMemory)
    plan = replace(plan, make=WritingTwice(plan.make, tmp_path))
    write_dataset(tmp_path, plan, split="train")
    np.testing.assert_array_equal(stack(ShardedImages(tmp_path)), pixels)


@pytest.mark.parametrize("where", ["hr", "hr/train"])
def test_a_file_where_the_folder_should_be_is_reported(tmp_path: Path, where: str) -> None:
    (tmp_path / "hr").write_text("a file")
    with pytest.raises(UserError, match="is not a folder but a file"):
        store_images(tmp_path / where, make_names(3), make_pixels(3))
    assert (tmp_path / "hr").read_text() == "a file"


@pytest.mark.parametrize("count", [0, 3])
def test_a_dataset_without_usable_images_is_reported(tmp_path: Path, count: int) -> None:
    pixels = make_pixels(count)
    plan = make_plan(pixels, make=Dropping(pixels, (0, 1, 2)))
    with pytest.raises(UserError, match="no usable images for the val split"):
        write_dataset(tmp_path, plan, split="val")
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 8, 15, 3), np.uint8),
        np.zeros((4, 8, 16, 1), np.uint8),
        np.zeros((4, 8, 16, 3), np.float32),
        np.zeros((4, 8, 16, 3), np.int8),
    ],
)
def test_images_of_another_kind_are_refused(tmp_path: Path, pixels: Pixels) -> None:
    plan = make_plan(make_pixels(4), make=FromMemory(pixels, 4))
    with pytest.raises(ValueError, match=r"among \(8, 16, 3\)"):
        write_dataset(tmp_path, plan, split="train")
    assert files(tmp_path) == []
