"""Shards on an S3 server on loopback, and in fsspec's memory."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from kedro_project import make_project
from numpy.typing import NDArray
from stored_images import plan_images, store_images

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.data.verify import verify
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.errors import UserError
from deepdepixelate.locations import location
from deepdepixelate.parallel import LOCAL


@pytest.fixture(autouse=True)
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for local copies."""
    monkeypatch.setenv("DEEPDEPIXELATE_CACHE", str(tmp_path / "copies"))
    return tmp_path / "copies"


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty place."""
    if request.param == "memory":
        return f"memory://{uuid4().hex}"
    bucket = f"shards-{uuid4().hex}"
    request.getfixturevalue("s3").mkdir(bucket)
    return f"s3://{bucket}/a folder"


def contents(place: str) -> dict[str, bytes]:
    system, root = fsspec.core.url_to_fs(place)
    system.invalidate_cache()
    files = system.find(root)
    return {os.path.relpath(path, root): system.cat_file(path) for path in files}


def make_pixels(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 16, 3), dtype=np.uint8)


NAMES = [f"{number}.png" for number in range(11)]


def test_shards_at_a_url_are_those_of_the_disk(tmp_path: Path, url: str, copies: Path) -> None:
    pixels = make_pixels(11)
    local = store_images(tmp_path / "hr", NAMES, pixels)
    remote = store_images(location(f"{url}/hr"), NAMES, pixels)
    assert contents(f"{url}/hr") == contents(str(tmp_path / "hr"))
    assert not copies.exists()  # made when an image is wanted
    lr = write_dataset(location(f"{url}/lr"), degrade(remote, 4), split="test")
    assert lr == write_dataset(tmp_path / "lr", degrade(local, 4), split="test")

    opened = ImagePairs(*(ShardedImages(location(f"{url}/{kind}")) for kind in ("hr", "lr")))
    pairs = pickle.loads(pickle.dumps(opened))  # noqa: S301
    pairs.verify()
    np.testing.assert_array_equal(np.stack([pairs.hr[i] for i in range(11)]), pixels)
    batches = [(hr.pixels, small.pixels) for hr, small in pairs.batches(3, range(2, 9))]
    np.testing.assert_array_equal(np.concatenate([hr for hr, _ in batches]), pixels[2:9])
    shards = {shard.sha256 for images in (pairs.hr, pairs.lr) for shard in images.manifest.shards}
    assert {path.stem for path in copies.iterdir()} == shards


@pytest.mark.parametrize("damage", ["byte", "gone"])
def test_damage_at_a_url_is_found_and_repaired(url: str, copies: Path, damage: str) -> None:
    pixels = make_pixels(11)
    stored = {
        f"hr/{split}": store_images(location(f"{url}/hr/{split}"), NAMES, pixels, split=split)
        for split in ("train", "val", "test")
    }
    for place, hr in stored.items():
        target = location(f"{url}/{place.replace('hr', 'lr')}")
        write_dataset(target, degrade(hr, 4), split=hr.manifest.split)
    before = contents(url)
    assert not any(each["damaged"] for each in verify(location(url), LOCAL).values())

    system, root = fsspec.core.url_to_fs(f"{url}/hr/val/shard-00001.npy")
    if damage == "byte":
        content = bytearray(system.cat_file(root))
        content[-1] ^= 1
        system.pipe_file(root, bytes(content))
        damaged = ShardedImages(location(f"{url}/hr/val"))
        assert np.array_equal(damaged[0], pixels[0])
        with pytest.raises(UserError, match=r"://.*shard-00001\.npy is damaged"):
            damaged[5]
        assert len(list(copies.iterdir())) == 1
    else:
        system.rm_file(root)
        with pytest.raises(UserError, match=r"shard-00001\.npy is missing or cut short"):
            ShardedImages(location(f"{url}/hr/val"))
    report = verify(location(url), LOCAL)
    assert [name for name in report if report[name]["damaged"]] == ["hr/val"]
    assert report["hr/val"]["damaged"] == ["shard-00001.npy"]
    write_dataset(location(f"{url}/hr/val"), plan_images(NAMES, pixels), split="val")
    assert contents(url) == before


@pytest.mark.parametrize("damage", ["byte", "cut"])
def test_a_damaged_copy_is_made_again(url: str, copies: Path, damage: str) -> None:
    pixels = make_pixels(3)
    store_images(location(f"{url}/hr/train"), NAMES[:3], pixels, split="train")
    for index in range(3):
        np.testing.assert_array_equal(
            ShardedImages(location(f"{url}/hr/train"))[index], pixels[index]
        )
    (copy,) = copies.iterdir()
    intact = copy.read_bytes()
    copy.write_bytes(intact[:-1] + (bytes([intact[-1] ^ 1]) if damage == "byte" else b""))
    np.testing.assert_array_equal(ShardedImages(location(f"{url}/hr/train"))[2], pixels[2])
    assert copy.read_bytes() == intact


def test_nothing_at_a_url_is_one_message() -> None:
    with pytest.raises(UserError, match="no complete dataset"):
        ShardedImages(location("memory://nothing/hr"))


def test_a_bucket_that_does_not_exist_is_one_message(s3: object) -> None:
    place = location("s3://no-such-bucket/hr")
    message = r"cannot be (read|written): .*bucket does not exist. Check the address"
    with pytest.raises(UserError, match=message):
        ShardedImages(place)
    with pytest.raises(UserError, match=message):
        store_images(place, NAMES, make_pixels(11))


def test_a_server_that_does_not_answer_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(UserError, match=r"manifest\.json cannot be read: "):
        ShardedImages(location("s3://bucket/hr"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.slow
def test_the_chain_runs_with_shards_on_s3(
    s3: fsspec.AbstractFileSystem, tmp_path: Path, make_url: Callable[[], str]
) -> None:
    project = make_project(tmp_path / "project")
    place = make_url()
    settings = f"shards_dir={place},ingest.images_per_shard=60"
    outcome = project.kedro_from_scratch(
        "run", "--pipelines", "ingest,degrade", "--params", settings
    )
    outcome.assert_success()
    assert f"Written: {place}/lr/train" in outcome.output
    assert not (project.path / "data/05_model_input").exists()
    training = "pretrain.updates=2,pretrain.batch_size=2,pretrain.validation_images=2"
    project.kedro_from_scratch(
        "run", "--pipeline", "pretrain", "--params", f"{settings},{training}"
    ).assert_success()
    project.kedro_from_scratch("run", "--pipeline", "verify", "--params", settings).assert_success()
    manifest = json.loads(s3.cat_file(f"{place}/hr/train/manifest.json"))
    assert manifest["count"] == 352


@pytest.fixture
def make_url(s3: fsspec.AbstractFileSystem) -> Callable[[], str]:
    def make() -> str:
        bucket = f"chain-{uuid4().hex}"
        s3.mkdir(bucket)
        return f"s3://{bucket}"

    return make
