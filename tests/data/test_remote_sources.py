"""The same sources at URLs: memory, a web server and S3."""

import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from range_server import range_server
from small_faces import jpeg, write_celeba

from deepdepixelate.data.sources import (
    FaceSource,
    RejectedImageError,
    check_celeba,
    check_faces,
    open_celeba,
    open_faces,
    places,
)
from deepdepixelate.errors import UserError
from deepdepixelate.locations import location
from deepdepixelate.parameters import SplitParameters

FACES = {f"{number:06d}.jpg": jpeg(number) for number in range(1, 7)}
PARTITION = "000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n000004.jpg 2\n000005.jpg 2\n"
THIRDS = SplitParameters(val=0.3, test=0.3)

Publish = Callable[[Path], str]
"""Copies a folder to a server, and gives its URL."""


@pytest.fixture
def s3_publish(s3: fsspec.AbstractFileSystem) -> Publish:
    def publish(folder: Path) -> str:
        bucket = f"faces-{uuid4().hex}"
        s3.mkdir(bucket)
        s3.put(f"{folder}/", f"{bucket}/in it", recursive=True)
        return f"s3://{bucket}/in it"

    return publish


@pytest.fixture(params=["memory", "http", "s3"])
def publish(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Publish]:
    if request.param == "s3":
        yield request.getfixturevalue("s3_publish")
    elif request.param == "http":
        served = tmp_path / "served"
        with range_server(served) as (url, _):

            def to_server(folder: Path) -> str:
                shutil.copytree(folder, served / folder.name)
                return f"{url}/{folder.name}"

            yield to_server
    else:

        def to_memory(folder: Path) -> str:
            root = f"/{uuid4().hex}"
            fsspec.filesystem("memory").put(f"{folder}/", root, recursive=True)
            return f"memory:/{root}"

        yield to_memory


def by_split(source: FaceSource) -> dict[str, list[str]]:
    return {split: list(names) for split, names in source.splits.items()}


def make_zip(folder: Path) -> None:
    write_celeba(folder, FACES, PARTITION)


def make_deflated_zip(folder: Path) -> None:
    write_celeba(folder, FACES, PARTITION, zipfile.ZIP_DEFLATED)


def make_folder(folder: Path) -> None:
    (folder / "img_align_celeba").mkdir(parents=True)
    for name, data in FACES.items():
        (folder / "img_align_celeba" / name).write_bytes(data)
    (folder / "list_eval_partition.csv").write_text("image_id,partition\n" + PARTITION)


def make_parquet(folder: Path) -> None:
    (folder / "parquet").mkdir(parents=True)
    table = pa.table({"image": [{"bytes": data, "path": name} for name, data in FACES.items()]})
    pq.write_table(table, folder / "parquet/0.parquet", row_group_size=2)
    (folder / "list_eval_partition.txt").write_text(PARTITION)


@pytest.mark.parametrize("make", [make_zip, make_deflated_zip, make_folder, make_parquet])
def test_celeba_at_a_url_is_the_same_as_on_the_disk(
    tmp_path: Path, publish: Publish, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "celeba")
    local = open_celeba(tmp_path / "celeba")
    url = publish(tmp_path / "celeba")
    check_celeba(location(url))
    remote = open_celeba(location(url))
    assert by_split(remote) == by_split(local)
    assert (remote.missing, remote.unlisted) == (local.missing, local.unlisted)
    assert remote.origin["path"].startswith(url)
    images = pickle.loads(pickle.dumps(remote.images))  # noqa: S301
    names = [name for names in remote.splits.values() for name in names] * 20
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(images.read, names)) == [FACES[name] for name in names]
    again = open_celeba(location(url)).images
    assert again.stamp("000001.jpg") == remote.images.stamp("000001.jpg") != ""
    assert images.stamp("000001.jpg") != images.stamp("000002.jpg") or make is make_folder


def test_the_url_of_the_archive_is_that_of_its_folder(tmp_path: Path, publish: Publish) -> None:
    make_zip(tmp_path / "celeba")
    url = publish(tmp_path / "celeba")
    source = open_celeba(location(f"{url}/img_align_celeba.zip"))
    assert by_split(source) == by_split(open_celeba(location(url)))


def test_own_faces_at_a_url_are_split_as_on_the_disk(tmp_path: Path, publish: Publish) -> None:
    folder = tmp_path / "own"
    for number in range(24):
        (folder / f"{number % 8}").mkdir(parents=True, exist_ok=True)
        (folder / f"{number % 8}/{number}.jpg").write_bytes(jpeg(number))
    (folder / "notes.txt").write_text("no image")
    local = open_faces(folder, THIRDS)
    remote = open_faces(location(publish(folder)), THIRDS)
    assert by_split(remote) == by_split(local)
    assert remote.origin["left_out"] == local.origin["left_out"]
    assert remote.images.read("3/11.jpg") == jpeg(11)


def test_nothing_at_a_url_is_reported(tmp_path: Path, publish: Publish) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no image")
    url = publish(tmp_path / "empty")
    for place in (url, f"{url}/nowhere"):
        with pytest.raises(UserError, match=r"no CelebA images in .*celeba_dir"):
            check_celeba(location(place))
        with pytest.raises(UserError, match=r"no images in .*faces_dir"):
            open_faces(location(place), THIRDS)


def test_images_at_a_url_take_one_request_each_and_their_stamps_none(
    tmp_path: Path, s3_publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "celeba")
    (tmp_path / "celeba/img_align_celeba/000002.jpg").write_bytes(b"")
    images = open_celeba(location(s3_publish(tmp_path / "celeba"))).images
    assert images.read("000002.jpg") == b""
    s3 = type(fsspec.filesystem("s3"))
    for name in ("info", "ls", "find"):
        monkeypatch.setattr(s3, name, None)
    assert images.read("000001.jpg") == FACES["000001.jpg"]
    assert len({images.stamp(name) for name in FACES}) == 6


# -- failures --------------------------------------------------------------------------------------


def test_an_archive_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = {f"{number:06d}.jpg": jpeg(number) * 20 for number in range(200)}
    partition = "".join(f"{name} {min(number, 2)}\n" for number, name in enumerate(faces))
    archive = write_celeba(tmp_path, faces, partition)
    with range_server(tmp_path) as (url, handler):
        source = open_celeba(location(url))
        directory = handler.bytes_sent
        assert directory < archive.stat().st_size / 10 + 70_000
        for name in source.splits["test"]:
            assert source.images.read(name) == faces[name]
        assert handler.bytes_sent - directory < 1.2 * archive.stat().st_size


def test_a_failure_that_passes_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PAUSE", 0)
    make_zip(tmp_path / "zip")
    make_folder(tmp_path / "folder")
    with range_server(tmp_path) as (url, handler):
        for make in ("zip", "folder"):
            source = open_celeba(location(f"{url}/{make}"))
            handler.failures = 2
            assert source.images.read("000001.jpg") == FACES["000001.jpg"]
            handler.failures = 3
            with pytest.raises(UserError, match=r"cannot be read: .*run the same command again"):
                # In another block or file than the one that was read.
                open_celeba(location(f"{url}/{make}")).images.read("000004.jpg")
            handler.failures = 0


def test_an_image_that_vanishes_is_rejected(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with range_server(tmp_path) as (url, _):
        source = open_celeba(location(url))
        (tmp_path / "img_align_celeba/000001.jpg").unlink()
        with pytest.raises(RejectedImageError, match="no such file"):
            source.images.read("000001.jpg")


def test_a_server_without_ranges_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PAUSE", 0)
    make_zip(tmp_path)
    with (
        range_server(tmp_path, ranges=False) as (url, _),
        pytest.raises(UserError, match=r"img_align_celeba\.zip cannot be read"),
    ):
        open_celeba(location(url))


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "ftp"])
def test_a_url_with_a_password_is_refused_and_the_password_is_not_shown(scheme: str) -> None:
    with pytest.raises(UserError, match=r"holds a password.*FSSPEC_HTTP") as caught:
        location(f"{scheme}://anna:s3cret@host/celeba")
    assert "s3cret" not in str(caught.value)
    assert str(location("http://anna@host/celeba")) == "http://anna@host/celeba"


def test_chains_of_urls_are_refused() -> None:
    for text in ("simplecache::http://host/celeba", "zip://a::http://host/celeba"):
        with pytest.raises(UserError, match=r"Give the last one: http://host/celeba$"):
            location(text)
    assert str(location("http://[::1]:80/celeba")) == "http://[::1]:80/celeba"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9/celeba", "Check the address"),
        ("nonsense://a/b", "nonsense"),
        ("s3://", "cannot be read|no CelebA images"),
        ("gs://bucket/celeba", r"cannot be read: .*gcsfs.*Install its package"),
    ],
)
def test_a_url_that_cannot_be_reached_is_reported(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PAUSE", 0)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
    for check in (check_celeba, partial(check_faces, parameters=THIRDS)):
        with pytest.raises(UserError, match=message):
            check(location(url))


def test_a_bucket_that_does_not_exist_is_reported(
    s3: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PAUSE", 0)
    for check in (check_celeba, partial(check_faces, parameters=THIRDS)):
        with pytest.raises(UserError, match=r"cannot be read: .*bucket does not exist"):
            check(location("s3://nowhere/celeba"))
