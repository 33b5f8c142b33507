import logging
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_faces import encode, jpeg, picture

from deepdepixelate.data.sources import FaceSource, RejectedImageError, check_faces, open_faces
from deepdepixelate.data.sources.lists import read_identities
from deepdepixelate.data.sources.own import choose_split
from deepdepixelate.errors import UserError
from deepdepixelate.parameters import SplitParameters

HALVES = SplitParameters(val=0.3, test=0.3)
NAMES = [f"photo {number}.jpg" for number in range(40)]


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def split_of(source: FaceSource) -> dict[str, str]:
    return {name: split for split, names in source.splits.items() for name in names}


def left_out(source: FaceSource) -> dict[str, str]:
    return {each["name"]: each["reason"] for each in source.origin.get("left_out", [])}


# -- files -----------------------------------------------------------------------------------------


def test_images_of_all_sub_folders_are_found_and_read(tmp_path: Path) -> None:
    files = {name: jpeg(number) for number, name in enumerate(NAMES)}
    files |= {"a/b/c/deep.PNG": encode(picture(1), "PNG"), "a/one.webp": encode(picture(2), "WEBP")}
    source = open_faces(write(tmp_path, files), HALVES)
    assert set(split_of(source)) == set(files)
    for name, content in files.items():
        assert source.images.read(name) == content
    assert left_out(source) == {}
    for names in source.splits.values():
        assert list(names) == sorted(names)


def test_hidden_files_are_ignored_and_others_are_reported(tmp_path: Path) -> None:
    files = dict.fromkeys(NAMES, jpeg(1))
    files |= dict.fromkeys([".DS_Store", "._photo 1.jpg", ".cache/x.jpg", "Thumbs.db"], b"")
    files |= dict.fromkeys(["notes.txt", "a/clip.mp4", "a/face.heic", "a/more.zip"], b"")
    source = open_faces(write(tmp_path, files), HALVES)
    assert set(split_of(source)) == set(NAMES)
    assert set(left_out(source)) == {"notes.txt", "a/clip.mp4", "a/face.heic", "a/more.zip"}
    assert set(left_out(source).values()) == {"not a JPEG, PNG, WebP or BMP file"}
    assert source.origin["left_out_count"] == 4


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces", {**dict.fromkeys(NAMES, jpeg(1)), "a/inside.jpg": jpeg(2)})
    write(tmp_path, {"private.jpg": jpeg(3), "more/other.jpg": jpeg(4)})
    (folder / "out.jpg").symlink_to(tmp_path / "private.jpg")
    (folder / "up.jpg").symlink_to("../private.jpg")
    (folder / "broken.jpg").symlink_to("nowhere.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "more").symlink_to(tmp_path / "more")
    (folder / "alias.jpg").symlink_to("a/inside.jpg")
    source = open_faces(folder, HALVES)
    assert set(split_of(source)) == {*NAMES, "a/inside.jpg", "alias.jpg"}
    assert left_out(source) == {
        "out.jpg": "a link that leaves the folder",
        "up.jpg": "a link that leaves the folder",
        "broken.jpg": "a broken link",
        "loop": "a link to something that is not a regular file",
        "more": "a link that leaves the folder",
    }


def test_something_that_is_not_a_file_blocks_nothing(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(NAMES, jpeg(1)))
    os.mkfifo(tmp_path / "pipe.jpg")
    source = open_faces(tmp_path, HALVES)
    assert left_out(source) == {"pipe.jpg": "not a regular file"}
    with pytest.raises(RejectedImageError, match="not a regular file"):
        source.images.read("pipe.jpg")


def test_names_that_cannot_be_printed_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(NAMES, jpeg(1)))
    for name in (b"new\nline.jpg", b"latin-\xe9.jpg", b"escape\x1b[31m.jpg"):
        Path(tmp_path, name.decode("utf-8", "surrogateescape")).write_bytes(jpeg(1))
    (tmp_path / "Zoë 😀 3\u202fPM.jpg").write_bytes(jpeg(1))
    source = open_faces(tmp_path, HALVES)
    assert "Zoë 😀 3\u202fPM.jpg" in split_of(source)
    assert set(left_out(source)) == {
        "new\\nline.jpg",
        "latin-\\udce9.jpg",
        "escape\\x1b[31m.jpg",
    }


def test_a_large_file_is_rejected_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_faces(write(tmp_path, dict.fromkeys(NAMES, jpeg(1))), HALVES)
    with (tmp_path / NAMES[0]).open("r+b") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(RejectedImageError, match="10,737,418,240 bytes, more than the limit"):
        source.images.read(NAMES[0])


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    images = open_faces(write(tmp_path, dict.fromkeys(NAMES, jpeg(1))), HALVES).images
    before = images.stamp(NAMES[0])
    assert images.stamp(NAMES[0]) == before
    (tmp_path / NAMES[0]).write_bytes(jpeg(2) + b" ")
    assert images.stamp(NAMES[0]) != before
    (tmp_path / NAMES[0]).unlink()
    assert images.stamp(NAMES[0]) == "cannot be read"


def test_a_folder_without_images_or_no_folder_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"notes.txt": b""})
    for use in (open_faces, check_faces):
        with pytest.raises(UserError, match=r"no images in .*faces_dir=DIR"):
            use(tmp_path, HALVES)
        for path in (tmp_path / "nowhere", tmp_path / "notes.txt"):
            with pytest.raises(UserError, match=r"is not a folder.*faces_dir=DIR"):
                use(path, HALVES)


# -- splits ----------------------------------------------------------------------------------------


def test_the_shares_are_those_of_the_parameters() -> None:
    splits = [choose_split(f"{number}.jpg", 0.1, 0.2) for number in range(20_000)]
    assert splits.count("val") / 20_000 == pytest.approx(0.1, abs=0.01)
    assert splits.count("test") / 20_000 == pytest.approx(0.2, abs=0.01)
    assert {choose_split(f"{number}.jpg", 0, 0) for number in range(100)} == {"train"}


def test_the_split_of_a_name_stays_for_ever() -> None:
    names = ["a.jpg", "b.jpg", "anna/1.jpg", "Zoë.png", "000001.jpg", "000002.jpg"]
    assert [choose_split(name, 0.3, 0.3) for name in names] == [
        "val",
        "val",
        "val",
        "test",
        "val",
        "train",
    ]
    assert choose_split("Zoe\u0308.png", 0.3, 0.3) == choose_split("Zoë.png", 0.3, 0.3)


def test_an_added_file_moves_no_other(tmp_path: Path) -> None:
    before = split_of(open_faces(write(tmp_path, dict.fromkeys(NAMES, jpeg(1))), HALVES))
    added = [f"added {number}.jpg" for number in range(40)]
    after = split_of(open_faces(write(tmp_path, dict.fromkeys(added, jpeg(1))), HALVES))
    assert {name: after[name] for name in NAMES} == before
    assert set(after) == {*NAMES, *added}


def test_a_larger_share_of_validation_moves_nothing_between_test_and_train() -> None:
    for number in range(1000):
        before, after = (choose_split(str(number), share, 0.2) for share in (0.1, 0.3))
        assert before == after or (before, after) == ("train", "val")


def test_images_of_one_sub_folder_are_in_one_split(tmp_path: Path) -> None:
    names = [f"person {who}/{year}/{n}.jpg" for who in range(30) for year in (1, 2) for n in (1, 2)]
    write(tmp_path, {**dict.fromkeys(names, jpeg(1)), "loose.jpg": jpeg(2)})
    source = open_faces(tmp_path, HALVES.model_copy(update={"by": "folder"}))
    people: dict[str, set[str]] = {}
    for name, split in split_of(source).items():
        people.setdefault(name.split("/")[0], set()).add(split)
    assert len(people) == 30
    assert all(len(splits) == 1 for splits in people.values())
    assert left_out(source) == {
        "loose.jpg": "not in a sub-folder, which ingest.split.by=folder needs"
    }


def test_sub_folders_that_are_not_split_by_are_mentioned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, dict.fromkeys([f"{number}/a.jpg" for number in range(40)], jpeg(1)))
    with caplog.at_level(logging.WARNING):
        open_faces(tmp_path, HALVES)
    assert "40 sub-folders" in caplog.text
    assert "ingest.split.by=folder" in caplog.text


@pytest.mark.parametrize("separator", [" ", ",", ", ", "\t"])
@pytest.mark.parametrize("place", ["identity_CelebA.txt", "../people.csv"])
def test_an_identity_is_in_one_split(tmp_path: Path, separator: str, place: str) -> None:
    folder = write(tmp_path / "faces", dict.fromkeys([*NAMES, "a/b.jpg", "new.jpg"], jpeg(1)))
    lines = [f"image_id{separator}identity"] if separator != " " else []
    lines += [f"{name}{separator}{number % 12}" for number, name in enumerate(NAMES)]
    lines += [f"a/b.png{separator}3", f"missing.jpg{separator}4"]
    (folder / place).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    identities = None if place.startswith("identity") else str(folder / place)
    split = HALVES.model_copy(update={"by": "identity", "identities": identities})
    source = open_faces(folder, split)
    splits = split_of(source)
    assert set(splits) == {*NAMES, "a/b.jpg"}
    for number, name in enumerate(NAMES):
        assert splits[name] == splits[NAMES[number % 12]]
    assert splits["a/b.jpg"] == splits[NAMES[3]]
    assert left_out(source) == {"new.jpg": f"not in {Path(place).name}"}


@pytest.mark.parametrize("column", ["identity", "celeb_id"])
@pytest.mark.parametrize("kind", [str, int, float, "category"])
def test_a_column_of_identities_keeps_people_in_one_split(
    tmp_path: Path, column: str, kind: type | str
) -> None:
    of_values = kind if isinstance(kind, type) else str
    people = [of_values(number % 12) for number in range(len(NAMES))]
    columns: dict[str, list[Any]] = {
        "image": [jpeg(1)] * 41,
        "name": [*NAMES, "new.jpg"],
        column: [*people, None],
    }
    for part, rows in enumerate([slice(0, 20), slice(20, None)]):
        table = pa.table({name: values[rows] for name, values in columns.items()})
        if kind == "category":
            encoded = table[column].combine_chunks().dictionary_encode()
            table = table.set_column(2, column, encoded)
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=7)
    split = HALVES.model_copy(update={"by": "identity"})
    check_faces(tmp_path, split)
    source = open_faces(tmp_path, split)
    splits = split_of(source)
    assert set(splits) == set(NAMES)
    for number, name in enumerate(NAMES):
        assert splits[name] == choose_split(str(number % 12), split.val, split.test)
        assert source.images.read(name) == jpeg(1)
    assert left_out(source) == {"new.jpg": "its row names no person"}

    listed = tmp_path / "people.csv"  # a list comes first
    listed.write_text("".join(f"{name},{number}\n" for number, name in enumerate(NAMES)))
    source = open_faces(tmp_path, split.model_copy(update={"identities": str(listed)}))
    assert split_of(source)["photo 1.jpg"] == choose_split("1", split.val, split.test)
    assert split_of(source)["photo 39.jpg"] == choose_split("39", split.val, split.test)


def test_accents_may_be_written_differently_in_list_and_folder(tmp_path: Path) -> None:
    names = [f"Zoë {number}.jpg" for number in range(40)]
    write(tmp_path, {unicodedata.normalize("NFD", name): jpeg(1) for name in names})
    lines = [f"{unicodedata.normalize('NFC', name)},{number}" for number, name in enumerate(names)]
    (tmp_path / "identity_CelebA.csv").write_text("\n".join(lines))
    source = open_faces(tmp_path, HALVES.model_copy(update={"by": "identity"}))
    assert len(split_of(source)) == 40
    assert left_out(source) == {}


def test_images_come_before_parquet_files(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(NAMES, jpeg(1)))
    pq.write_table(pa.table({"image": [jpeg(2)], "name": ["other.jpg"]}), tmp_path / "0.parquet")
    source = open_faces(tmp_path, HALVES)
    assert set(split_of(source)) == set(NAMES)
    assert set(left_out(source)) == {"0.parquet"}


def test_celebas_list_of_identities_is_read(tmp_path: Path) -> None:
    path = tmp_path / "identity_CelebA.txt"
    path.write_text("000001.jpg 2880\n000002.jpg 2937\n")
    assert read_identities(path) == {"000001": "2880", "000002": "2937"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.jpg 1\nb.jpg\n", r"line 2: expected a file name and an identity, found 'b\.jpg'"),
        (b"a.jpg,1\n,2\n", "line 2: expected a file name and an identity"),
        (b"a.jpg 1\na.png 2\n", "line 2: 'a' is listed a second time, with another identity"),
        (b"", "lists no image"),
        (b"\xff\xd8\xff\xe0", "cannot be read as a list of identities"),
    ],
)
def test_a_bad_list_of_identities_is_reported(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "people.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_identities(path)
    assert str(path) in str(caught.value)


def test_a_missing_list_of_identities_is_reported(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(NAMES, jpeg(1)))
    with pytest.raises(UserError, match=r"identity_CelebA\.txt is missing.*split\.identities"):
        check_faces(tmp_path, HALVES.model_copy(update={"by": "identity"}))


def test_too_few_images_for_the_splits_are_reported(tmp_path: Path) -> None:
    write(tmp_path, {f"anna/{number}.jpg": jpeg(1) for number in range(20)})
    for use in (open_faces, check_faces):
        with pytest.raises(UserError, match=r"too few people \(1\).*Add people"):
            use(tmp_path, HALVES.model_copy(update={"by": "folder"}))
        with pytest.raises(UserError, match=r"too few images \(20\).*test split.*ingest\.split"):
            use(tmp_path, SplitParameters(val=0.5, test=1e-9))
