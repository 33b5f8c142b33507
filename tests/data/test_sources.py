import hashlib
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_faces import damage_entry, jpeg, write_celeba

from deepdepixelate.data.sources import (
    FaceSource,
    RejectedImageError,
    check_celeba,
    decode,
    open_celeba,
    read_partition,
)
from deepdepixelate.errors import UserError

STORED_AND_DEFLATED = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
FACES = {f"{number:06d}.jpg": jpeg(number) for number in range(1, 7)}
PARTITION = "000001.jpg 0\r\n000002.jpg 0\r\n000003.jpg 1\r\n000004.jpg 2\r\n000005.jpg 2\r\n"
"""The sixth face is in no split."""


# -- read_partition --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"a.jpg 0\nb.jpg 1\nc.jpg 2\n",
        b"a.jpg 0\r\nb.jpg 1\r\nc.jpg 2\r\n",
        b"a.jpg 0\r\nb.jpg 1\r\nc.jpg 2",
        b"\na.jpg 0\n\n  \nb.jpg\t1\nc.jpg   2  \n\r\n",
        b"\xef\xbb\xbfa.jpg 0\r\nb.jpg 1\r\nc.jpg 2\r\n",
        b"image_id,partition\na.jpg,0\nb.jpg,1\nc.jpg,2\n",
    ],
)
def test_a_partition_in_any_line_ending(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    partition = read_partition(path)
    assert list(partition.items()) == [("a.jpg", "train"), ("b.jpg", "val"), ("c.jpg", "test")]


@pytest.mark.parametrize(
    "line",
    ["b.jpg", "b.jpg 3", "b.jpg -1", "b.jpg train", "b.jpg 0 0", "0 b.jpg", "1", "b.jpg,0,0"],
)
def test_a_bad_line_of_a_partition_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"a.jpg 0\n\n{line}\nc.jpg 1\n")
    with pytest.raises(UserError, match="line 3") as caught:
        read_partition(path)
    assert repr(line) in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("code", [0, 1])
def test_a_name_listed_twice_is_named(tmp_path: Path, code: int) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"a.jpg 0\nb.jpg 1\na.jpg {code}\n")
    with pytest.raises(UserError, match=r"line 3: 'a\.jpg' is listed a second time"):
        read_partition(path)


def test_a_missing_partition_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"list\.txt is missing.*celeba_dir"):
        read_partition(tmp_path / "list.txt")


@pytest.mark.parametrize("content", [b"", b"\r\n\r\n", b"  \n"])
def test_an_empty_partition_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="lists no image"):
        read_partition(path)


def test_a_partition_that_is_no_text_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(jpeg(0))
    with pytest.raises(UserError, match="cannot be read as CelebA's partition list"):
        read_partition(path)
    with pytest.raises(UserError, match="cannot be read as CelebA's partition list"):
        read_partition(tmp_path)


def test_the_official_partition(shared: Path) -> None:
    partition = read_partition(shared / "celeba" / "list_eval_partition.txt")
    splits = list(partition.values())
    assert len(splits) == 202_599
    assert splits.count("train") == 162_770
    assert splits.count("val") == 19_867
    assert splits.count("test") == 19_962
    assert partition["000001.jpg"] == "train"
    assert partition["202599.jpg"] == "test"


# -- open_celeba -----------------------------------------------------------------------------------


def split_names(source: FaceSource) -> dict[str, list[str]]:
    return {split: list(names) for split, names in source.splits.items()}


@pytest.mark.parametrize("compression", STORED_AND_DEFLATED)
def test_an_archive_gives_its_images_by_split(tmp_path: Path, compression: int) -> None:
    archive = write_celeba(tmp_path, FACES, PARTITION, compression)
    source = open_celeba(tmp_path)
    assert split_names(source) == {
        "train": ["000001.jpg", "000002.jpg"],
        "val": ["000003.jpg"],
        "test": ["000004.jpg", "000005.jpg"],
    }
    for names in source.splits.values():
        assert [source.images.read(name) for name in names] == [FACES[name] for name in names]
    assert source.missing == {"train": 0, "val": 0, "test": 0}
    assert source.unlisted == 1
    assert source.origin["path"] == str(archive)
    assert source.origin["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()


@pytest.mark.parametrize("compression", STORED_AND_DEFLATED)
def test_an_archive_can_be_read_on_several_threads(tmp_path: Path, compression: int) -> None:
    write_celeba(tmp_path, FACES, PARTITION, compression)
    source = open_celeba(tmp_path)
    names = [name for split in source.splits.values() for name in split] * 40
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.images.read, names)) == [FACES[name] for name in names]


def test_the_order_of_the_archive_does_not_matter(tmp_path: Path) -> None:
    write_celeba(tmp_path, dict(reversed(FACES.items())), PARTITION)
    assert open_celeba(tmp_path).splits["train"] == ["000001.jpg", "000002.jpg"]


def test_an_archive_with_64_bit_headers_is_read(tmp_path: Path) -> None:
    archive = write_celeba(tmp_path, {}, PARTITION)
    with zipfile.ZipFile(archive, "w") as file:
        for name, encoded in FACES.items():
            with file.open(f"img_align_celeba/{name}", "w", force_zip64=True) as entry:
                entry.write(encoded)
    source = open_celeba(tmp_path)
    assert source.images.read("000004.jpg") == FACES["000004.jpg"]


def test_files_that_macos_adds_to_an_archive_are_ignored(tmp_path: Path) -> None:
    archive = write_celeba(tmp_path, FACES, PARTITION)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/img_align_celeba/._000001.jpg", b"resource fork")
        file.writestr("img_align_celeba/.DS_Store", b"view settings")
        file.writestr("img_align_celeba/readme.txt", b"text")
    source = open_celeba(tmp_path)
    assert source.unlisted == 1
    assert source.images.read("000001.jpg") == FACES["000001.jpg"]


def test_missing_images_are_counted_by_split(tmp_path: Path) -> None:
    faces = {name: FACES[name] for name in ("000001.jpg", "000005.jpg")}
    write_celeba(tmp_path, faces, PARTITION)
    source = open_celeba(tmp_path)
    assert source.missing == {"train": 1, "val": 1, "test": 1}
    assert source.unlisted == 0
    assert split_names(source) == {"train": ["000001.jpg"], "val": [], "test": ["000005.jpg"]}


@pytest.mark.parametrize("folder", ["img_align_celeba", "."])
def test_a_folder_of_images_works_too(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, encoded in FACES.items():
        (tmp_path / folder / name).write_bytes(encoded)
    (tmp_path / folder / "._000001.jpg").write_bytes(b"resource fork")
    (tmp_path / "list_eval_partition.txt").write_text(PARTITION)
    source = open_celeba(tmp_path)
    assert split_names(source)["test"] == ["000004.jpg", "000005.jpg"]
    assert source.images.read("000003.jpg") == FACES["000003.jpg"]
    assert source.unlisted == 1
    assert source.missing == {"train": 0, "val": 0, "test": 0}


@pytest.mark.parametrize(
    ("folder", "suffix", "listed"),
    [
        ("img_align_celeba_png", ".png", "list_eval_partition.txt"),
        ("img_align_celeba/img_align_celeba", ".jpg", "list_eval_partition.csv"),
        (".", ".png", "list_eval_partition.csv"),
    ],
)
def test_copies_of_celeba_under_other_names_are_understood(
    tmp_path: Path, folder: str, suffix: str, listed: str
) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, encoded in FACES.items():
        (tmp_path / folder / name).with_suffix(suffix).write_bytes(encoded)
    (tmp_path / listed).write_text(PARTITION)
    source = open_celeba(tmp_path)
    assert split_names(source) == {
        "train": [f"000001{suffix}", f"000002{suffix}"],
        "val": [f"000003{suffix}"],
        "test": [f"000004{suffix}", f"000005{suffix}"],
    }
    assert source.images.read(f"000003{suffix}") == FACES["000003.jpg"]
    assert source.missing == {"train": 0, "val": 0, "test": 0}


@pytest.mark.parametrize("name", ["archive.zip", "celeba-dataset.zip"])
def test_kaggles_archive_needs_nothing_beside_it(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as file:
        for face, encoded in FACES.items():
            file.writestr(f"img_align_celeba/img_align_celeba/{face}", encoded)
        file.writestr("list_attr_celeba.csv", "image_id,Smiling\n")
        listed = PARTITION.replace(" ", ",")
        file.writestr("list_eval_partition.csv", f"image_id,partition\r\n{listed}")
    source = open_celeba(tmp_path)
    assert split_names(source)["test"] == ["000004.jpg", "000005.jpg"]
    assert source.images.read("000005.jpg") == FACES["000005.jpg"]
    assert source.origin["path"] == str(tmp_path / name)
    assert [each["name"] for each in source.origin["left_out"]] == ["list_attr_celeba.csv"]
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 2\n")
    assert split_names(open_celeba(tmp_path))["test"] == ["000001.jpg"]


def test_an_image_in_two_formats_counts_once_and_is_reported(tmp_path: Path) -> None:
    write_celeba(tmp_path, {**FACES, "000001.png": FACES["000001.jpg"]}, PARTITION)
    source = open_celeba(tmp_path)
    assert source.splits["train"] == ["000001.jpg", "000002.jpg"]
    assert source.unlisted == 1
    assert source.origin["left_out"] == [
        {"name": "000001.png", "reason": "has the same name as 000001.jpg, which is used"}
    ]


def test_images_of_another_set_than_the_list_are_reported(tmp_path: Path) -> None:
    write_celeba(tmp_path, {"face-1.jpg": FACES["000001.jpg"]}, PARTITION)
    with pytest.raises(UserError, match=r"1 images, and none of them.*include face-1\.jpg.*000001"):
        open_celeba(tmp_path)


def test_an_image_that_vanishes_from_a_folder_is_rejected(tmp_path: Path) -> None:
    for name, encoded in FACES.items():
        (tmp_path / name).write_bytes(encoded)
    (tmp_path / "list_eval_partition.txt").write_text(PARTITION)
    source = open_celeba(tmp_path)
    (tmp_path / "000003.jpg").unlink()
    with pytest.raises(RejectedImageError, match="cannot be read"):
        source.images.read("000003.jpg")


@pytest.mark.parametrize("compression", STORED_AND_DEFLATED)
def test_a_damaged_entry_is_rejected_and_the_others_are_not(
    tmp_path: Path, compression: int
) -> None:
    archive = write_celeba(tmp_path, FACES, PARTITION, compression)
    damage_entry(archive, "000002.jpg")
    source = open_celeba(tmp_path)
    with pytest.raises(RejectedImageError, match="damaged in the archive"):
        source.images.read("000002.jpg")
    assert source.images.read("000001.jpg") == FACES["000001.jpg"]
    assert source.images.read("000003.jpg") == FACES["000003.jpg"]


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_an_archive_cut_short_is_reported(tmp_path: Path, kept: float) -> None:
    archive = write_celeba(tmp_path, FACES, PARTITION)
    content = archive.read_bytes()
    size = kept if isinstance(kept, int) else int(kept * len(content))
    archive.write_bytes(content[:size])
    with pytest.raises(UserError, match=r"img_align_celeba\.zip is not a complete zip archive"):
        open_celeba(tmp_path)


def test_something_else_in_the_place_of_the_archive_is_reported(tmp_path: Path) -> None:
    archive = write_celeba(tmp_path, FACES, PARTITION)
    archive.write_bytes(b"<html>quota exceeded</html>" * 100)
    with pytest.raises(UserError, match="is not a complete zip archive"):
        open_celeba(tmp_path)
    archive.unlink()
    archive.mkdir()
    with pytest.raises(UserError, match="is not a complete zip archive"):
        open_celeba(tmp_path)


def test_an_archive_without_images_is_reported(tmp_path: Path) -> None:
    write_celeba(tmp_path, {"readme.txt": b"text"}, PARTITION)
    with pytest.raises(UserError, match="no CelebA images"):
        open_celeba(tmp_path)


def test_a_folder_without_images_or_no_folder_at_all_is_reported(tmp_path: Path) -> None:
    (tmp_path / "list_eval_partition.txt").write_text(PARTITION)
    for directory in (tmp_path, tmp_path / "nowhere"):
        for read in (open_celeba, check_celeba):
            with pytest.raises(UserError, match=r"no CelebA images in .*celeba_dir"):
                read(directory)


def test_the_archive_or_the_list_may_be_named_instead_of_their_folder(tmp_path: Path) -> None:
    archive = write_celeba(tmp_path, FACES, PARTITION)
    expected = open_celeba(tmp_path).splits
    for path in (archive, tmp_path / "list_eval_partition.txt"):
        assert open_celeba(path).splits == expected


def test_an_archive_without_its_list_is_reported(tmp_path: Path) -> None:
    write_celeba(tmp_path, FACES, PARTITION)
    check_celeba(tmp_path)
    (tmp_path / "list_eval_partition.txt").unlink()
    for read in (open_celeba, check_celeba):
        with pytest.raises(UserError, match=r"list_eval_partition\.txt is missing"):
            read(tmp_path)


@pytest.mark.slow
def test_the_archive_of_real_faces(shared: Path) -> None:
    source = open_celeba(shared / "celeba")
    counts = {split: len(names) for split, names in source.splits.items()}
    assert counts == {"train": 24_000, "val": 1_500, "test": 2_000}
    assert source.missing == {"train": 138_770, "val": 18_367, "test": 17_962}
    assert source.unlisted == 0
    for names in source.splits.values():
        for name in (names[0], names[-1]):
            encoded = source.images.read(name)
            with Image.open(BytesIO(encoded)) as image:
                np.testing.assert_array_equal(decode(encoded, 178, 218), np.asarray(image))


def test_the_copy_of_a_celeba_folder_has_the_same_images(tmp_path: Path) -> None:
    write_celeba(tmp_path / "zip", FACES, PARTITION)
    with zipfile.ZipFile(tmp_path / "zip" / "img_align_celeba.zip") as archive:
        archive.extractall(tmp_path / "folder")
    shutil.copy(tmp_path / "zip" / "list_eval_partition.txt", tmp_path / "folder")
    zipped, unpacked = open_celeba(tmp_path / "zip"), open_celeba(tmp_path / "folder")
    assert unpacked.splits == zipped.splits
    assert unpacked.images.read("000002.jpg") == zipped.images.read("000002.jpg")
