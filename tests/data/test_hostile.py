"""Damaged and malicious sources: never a crash, and everything that is rejected is reported."""

import hashlib
import io
import json
import os
import resource
import stat
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_faces import HEIGHT, WIDTH, encode, jpeg, picture, write_celeba
from stored_images import store_images

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.shards import ImagePairs, Manifest, ShardedImages, read_manifest
from deepdepixelate.data.sources import FaceSource, RejectedImageError, open_celeba, read_partition
from deepdepixelate.data.sources.decoding import decode, decode_to_cover
from deepdepixelate.data.sources.lists import read_identities
from deepdepixelate.data.writing import Part, write_dataset
from deepdepixelate.errors import UserError
from deepdepixelate.limits import LIST_BYTES

FACES = {f"{number:06d}.jpg": jpeg(number) for number in range(1, 4)}
PARTITION = "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n"


def archive_of(
    folder: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], deflated: bool = False
) -> FaceSource:
    folder.mkdir(parents=True, exist_ok=True)
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", method) as file:
        for name, content in entries:
            file.writestr(name, content)
    (folder / "list_eval_partition.txt").write_text(PARTITION)
    return open_celeba(folder)


def left_out(source: FaceSource) -> dict[str, str]:
    return {each["name"]: each["reason"] for each in source.origin.get("left_out", [])}


def used(source: FaceSource) -> list[str]:
    return [name for names in source.splits.values() for name in names]


# -- archives --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../000002.jpg",
        "a/../../000002.jpg",
        "/etc/000002.jpg",
        "..\\000002.jpg",
        "C:\\000002.jpg",
        "a/../000002.jpg",
    ],
)
def test_paths_that_leave_the_archive_are_reported(tmp_path: Path, name: str) -> None:
    source = archive_of(tmp_path, ("a/000001.jpg", jpeg(1)), (name, jpeg(2)))
    assert used(source) == ["000001.jpg"]
    assert left_out(source) == {name.replace("\\", "/"): "its path leaves the folder"}
    assert source.missing["val"] == 1


def test_two_files_of_the_same_name_are_reported(tmp_path: Path) -> None:
    source = archive_of(
        tmp_path, ("b/000001.jpg", jpeg(2)), ("a/000001.jpg", jpeg(1)), ("000001.png", jpeg(3))
    )
    assert used(source) == ["000001.jpg"]
    assert source.images.read("000001.jpg") == jpeg(1)
    assert left_out(source) == {
        "b/000001.jpg": "has the same name as a/000001.jpg, which is used",
        "000001.png": "has the same name as 000001.jpg, which is used",
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_path_twice_is_reported(tmp_path: Path) -> None:
    source = archive_of(tmp_path, ("000001.jpg", jpeg(1)), ("000001.jpg", jpeg(2)))
    assert source.images.read("000001.jpg") == jpeg(1)
    assert list(left_out(source)) == ["000001.jpg"]


def test_names_that_cannot_be_printed_are_reported(tmp_path: Path) -> None:
    names = ["new\nline.jpg", "bell\a.jpg", "separator\u2028.jpg"]
    source = archive_of(tmp_path, ("000001.jpg", jpeg(1)), *((name, jpeg(2)) for name in names))
    assert used(source) == ["000001.jpg"]
    assert set(left_out(source)) == {"new\\nline.jpg", "bell\\x07.jpg", "separator\\u2028.jpg"}


def test_nested_archives_and_other_files_are_reported(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("000002.jpg", jpeg(2))
    source = archive_of(
        tmp_path, ("000001.jpg", jpeg(1)), ("more.zip", inner.getvalue()), ("readme.txt", b"")
    )
    assert used(source) == ["000001.jpg"]
    assert left_out(source) == dict.fromkeys(
        ["more.zip", "readme.txt"], "not a JPEG, PNG, WebP or BMP file"
    )


def test_an_archive_or_a_link_with_the_name_of_an_image_is_no_image(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("000002.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    source = archive_of(
        tmp_path, ("000001.jpg", b"PK\x03\x04" + b"x" * 100), (link, b"/etc/passwd")
    )
    for name in used(source):
        with pytest.raises(RejectedImageError, match="not an image"):
            decode(source.images.read(name), WIDTH, HEIGHT)


def test_a_bomb_is_left_out_by_its_size(tmp_path: Path) -> None:
    source = archive_of(
        tmp_path, ("000001.jpg", jpeg(1)), ("000002.jpg", bytes(200 * 2**20)), deflated=True
    )
    assert (tmp_path / "img_align_celeba.zip").stat().st_size < 2**20
    assert used(source) == ["000001.jpg"]
    assert left_out(source) == {
        "000002.jpg": "209,715,200 bytes, more than the limit of 67,108,864"
    }


@pytest.mark.parametrize("claimed", [0, 10, 2**20])
@pytest.mark.parametrize("deflated", [False, True])
def test_a_size_that_is_not_true_is_rejected(tmp_path: Path, claimed: int, deflated: bool) -> None:
    archive_of(tmp_path, ("000001.jpg", bytes(100_000)), ("000002.jpg", jpeg(2)), deflated=deflated)
    path = tmp_path / "img_align_celeba.zip"
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 24, claimed)
    if not deflated:
        struct.pack_into("<I", content, entry + 20, claimed)
    path.write_bytes(content)
    source = open_celeba(tmp_path)
    with pytest.raises(RejectedImageError, match="wrong size or CRC-32"):
        source.images.read("000001.jpg")
    assert source.images.read("000002.jpg") == jpeg(2)


@pytest.mark.parametrize("offset", [0xFFFFFFF0, 50])
def test_an_offset_to_something_else_is_rejected(tmp_path: Path, offset: int) -> None:
    archive_of(tmp_path, ("000001.jpg", jpeg(1)), ("000002.jpg", jpeg(2)))
    path = tmp_path / "img_align_celeba.zip"
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 42, offset)
    path.write_bytes(content)
    source = open_celeba(tmp_path)
    with pytest.raises(RejectedImageError, match="no file at its offset"):
        source.images.read("000001.jpg")


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [(8, 1, "encrypted"), (10, 14, "compression method 14"), (10, 99, "compression method 99")],
)
def test_entries_that_cannot_be_decompressed_are_reported(
    tmp_path: Path, place: int, value: int, reason: str
) -> None:
    archive_of(tmp_path, ("000001.jpg", jpeg(1)), ("000002.jpg", jpeg(2)))
    path = tmp_path / "img_align_celeba.zip"
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + place, value)
    path.write_bytes(content)
    assert reason in left_out(open_celeba(tmp_path))["000001.jpg"]


def test_a_version_of_the_format_that_is_unknown_is_refused(tmp_path: Path) -> None:
    archive_of(tmp_path, ("000001.jpg", jpeg(1)))
    path = tmp_path / "img_align_celeba.zip"
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + 6, 99)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"zip file version 9\.9"):
        open_celeba(tmp_path)


def test_a_directory_too_large_for_the_memory_is_refused(tmp_path: Path) -> None:
    write_celeba(tmp_path, FACES, PARTITION)
    path = tmp_path / "img_align_celeba.zip"
    size = LIST_BYTES + 2**20
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65_535, 65_535, size, 0, 0))
    with pytest.raises(UserError, match="its directory has 68,157,440 bytes, more than the limit"):
        open_celeba(tmp_path)


# -- lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a" * 5000, "line 1: longer than 4,096 characters"),
        (b"a.jpg 0\n" + b"b " * 5_000_000, "line 2: longer than 4,096 characters"),
        (b"a.jpg 0\n\x1b[31m.jpg 0 1", "line 2: expected .*x1b"),
        (b"a.jpg 0\nb\xff.jpg 1\n", "cannot be read as CelebA's partition list"),
    ],
)
def test_lists_that_are_no_lists_are_reported(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_partition(path)
    assert len(str(caught.value)) < 500
    assert "\x1b" not in str(caught.value)


def test_a_list_too_large_for_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    with path.open("wb") as file:
        file.truncate(100 * 2**30)
    with pytest.raises(UserError, match="more than 67,108,864 bytes"):
        read_partition(path)
    path.write_bytes(b"\n" * 2_500_000)
    with pytest.raises(UserError, match="more than 2,000,000 lines"):
        read_partition(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("name", ["img_align_celeba.zip", "list_eval_partition.txt"])
def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    archive_of(tmp_path, ("000001.jpg", jpeg(1)))
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is not a regular file"):
        open_celeba(tmp_path)


# -- mutations -------------------------------------------------------------------------------------


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of the originals with bytes replaced, removed, repeated or cut off."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        start = draw(st.integers(0, len(data) - 1))
        end = min(len(data), start + draw(st.sampled_from([1, 2, 4, 8, 30, 500])))
        match draw(st.sampled_from(["bits", "bytes", "special", "remove", "repeat", "cut"])):
            case "bits":
                data[start] ^= 1 << draw(st.integers(0, 7))
            case "bytes":
                data[start:end] = draw(st.binary(max_size=8))
            case "special":
                value = draw(st.sampled_from([0, 0xFF, 0x7F, 0x80]))
                data[start:end] = bytes([value]) * (end - start)
            case "remove":
                del data[start:end]
            case "repeat":
                data[start:start] = data[start:end] * draw(st.integers(1, 3))
            case "cut":
                del data[start:]
    return bytes(data)


def mutations(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """Fail if a test raised the peak of the process's memory by more than 600 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 600e6


IMAGES = [
    jpeg(1),
    encode(picture(2), "JPEG", progressive=True, quality=70),
    encode(picture(3), "PNG"),
    encode(picture(4), "WEBP"),
    encode(picture(5), "BMP"),
]


@pytest.mark.slow
@mutations(4000)
@given(encoded=mutated(IMAGES))
def test_mutated_images_are_decoded_or_rejected(encoded: bytes) -> None:
    for use, width, height in ((decode, WIDTH, HEIGHT), (decode_to_cover, WIDTH // 2, HEIGHT // 2)):
        try:
            pixels = use(encoded, width, height)
        except RejectedImageError as error:
            assert str(error)  # noqa: PT017 - the outcome may be either
        else:
            assert pixels.shape[2] == 3


def zipped(folder: Path, *, compression: int) -> bytes:
    return write_celeba(folder, FACES, PARTITION, compression).read_bytes()


def parquet(**options: object) -> bytes:
    names, data = list(FACES), list(FACES.values())
    structs = [{"bytes": each, "path": name} for name, each in FACES.items()]
    columns = {"image": structs} if options.pop("structs", True) else {"image": data, "name": names}
    file = io.BytesIO()
    pq.write_table(pa.table({**columns, "split": [0, 1, 2]}), file, **options)
    return file.getvalue()


def open_and_read(folder: Path) -> None:
    """Open CelebA and read and decode all images; only UserError and RejectedImageError may rise.

    What is printed is one line.
    """
    try:
        source = open_celeba(folder)
    except UserError as error:
        assert str(error).isprintable(), error  # noqa: PT017
        return
    for name in used(source):
        assert name.isprintable()
        source.images.stamp(name)
        try:
            decode(source.images.read(name), WIDTH, HEIGHT)
        except RejectedImageError as error:
            assert str(error)  # noqa: PT017
    assert all(each["name"].isprintable() for each in source.origin.get("left_out", []))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    where = tmp_path_factory.mktemp("zips")
    return [
        zipped(where / str(method), compression=method)
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    ]


@pytest.mark.slow
@mutations(3000)
@given(data=st.data())
def test_mutated_archives_are_read_or_reported(
    folder: Path, zips: list[bytes], data: st.DataObject
) -> None:
    place = folder / "zip"
    place.mkdir(exist_ok=True)
    (place / "list_eval_partition.txt").write_text(PARTITION)
    (place / "img_align_celeba.zip").write_bytes(data.draw(mutated(zips)))
    open_and_read(place)


TABLES = [parquet(), parquet(structs=False), parquet(compression="gzip", use_dictionary=False)]


@pytest.mark.slow
@mutations(3000)
@given(content=mutated(TABLES))
def test_mutated_parquet_files_are_read_or_reported(folder: Path, content: bytes) -> None:
    place = folder / "parquet"
    place.mkdir(exist_ok=True)
    (place / "train-0.parquet").write_bytes(content)
    (place / "list_eval_partition.txt").write_text(PARTITION)
    open_and_read(place)


LISTS = [
    PARTITION.encode(),
    b"\xef\xbb\xbfimage_id,partition\r\n000001.jpg,0\r\n000002.jpg,1\r\n",
    b"image_id,identity\nmy photo.jpg,12\nZo\xc3\xab.png,13\n",
]


@pytest.mark.slow
@mutations(2000)
@given(content=mutated(LISTS))
@pytest.mark.parametrize("read", [read_partition, read_identities])
def test_mutated_lists_are_read_or_reported(
    folder: Path, read: Callable[[Path], dict[str, str]], content: bytes
) -> None:
    path = folder / "list.txt"
    path.write_bytes(content)
    try:
        assert read(path)
    except UserError as error:
        assert str(error).isprintable(), error  # noqa: PT017


# -- what was stored -------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven HR images in three shards, and their LR images."""
    place = tmp_path_factory.mktemp("stored")
    pixels = np.random.default_rng(0).integers(0, 256, (11, 8, 16, 3), dtype=np.uint8)
    names = [f"{number:06d}.jpg" for number in range(11)]
    hr = store_images(place / "hr", names, pixels, split="train", details={"rejected": []})
    write_dataset(place / "lr", degrade(hr, 4), split="train")
    return place


def open_pairs(place: Path) -> ImagePairs:
    pairs = ImagePairs(ShardedImages(place / "hr"), ShardedImages(place / "lr"))
    pairs.verify()
    return pairs


@pytest.mark.slow
@mutations(1000)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["hr", "lr"])
def test_a_mutated_manifest_is_equal_or_refused(
    stored: Path, kind: str, data: st.DataObject
) -> None:
    path = stored / kind / "manifest.json"
    original = path.read_bytes()
    path.write_bytes(data.draw(mutated([original])))
    try:
        open_pairs(stored)
        assert read_manifest(stored / kind) == Manifest.model_validate_json(original)
    except UserError as error:
        assert str(error).isprintable(), error  # noqa: PT017
    finally:
        path.write_bytes(original)


@pytest.mark.slow
@mutations(500)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["hr", "lr"])
def test_a_forged_manifest_is_used_whole_or_refused(
    stored: Path, kind: str, data: st.DataObject
) -> None:
    """Fields are replaced, and the seal is made again."""
    path = stored / kind / "manifest.json"
    original = path.read_bytes()
    fields = json.loads(original)
    del fields["seal"]
    place = fields
    name = data.draw(st.sampled_from(sorted(fields)))
    while isinstance(place[name], dict | list) and place[name] and data.draw(st.booleans()):
        place = place[name]
        numbers = range(len(place))
        name = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else numbers))
    place[name] = data.draw(JSON_VALUES)
    seal = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**fields, "seal": seal}))
    try:
        pairs = open_pairs(stored)
        assert [name for hr, _ in pairs.batches(4) for name in hr.names] == list(pairs.hr.names)
        assert len(pairs.hr.names) == len(pairs)
    except UserError as error:
        assert str(error).isprintable(), error  # noqa: PT017
    finally:
        path.write_bytes(original)


@pytest.mark.slow
@mutations(300)
@given(data=st.data())
def test_a_shard_with_a_mutated_description_is_made_again(
    stored: Path, data: st.DataObject
) -> None:
    path = stored / "lr" / f"shard-0000{data.draw(st.integers(0, 2))}.json"
    manifest = (stored / "lr" / "manifest.json").read_bytes()
    original = path.read_bytes()
    path.write_bytes(data.draw(mutated([original])))
    write_dataset(stored / "lr", degrade(ShardedImages(stored / "hr"), 4), split="train")
    assert (stored / "lr" / "manifest.json").read_bytes() == manifest
    assert Part.model_validate_json(path.read_bytes()) == Part.model_validate_json(original)


@pytest.mark.parametrize("names", [["../../x.jpg"], [], ["000000.jpg", "x.jpg"]])
def test_a_shard_whose_description_has_other_names_is_made_again(
    stored: Path, names: list[str]
) -> None:
    path = stored / "lr" / "shard-00000.json"
    original = path.read_bytes()
    part = Part.model_validate_json(original)
    fields = part.model_dump(exclude={"seal"})
    forged = Part.sealed(**{**fields, "names": (*names, *part.names[1:])})
    path.write_text(forged.model_dump_json())
    write_dataset(stored / "lr", degrade(ShardedImages(stored / "hr"), 4), split="train")
    assert Part.model_validate_json(path.read_bytes()) == part
