import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_faces import jpeg

from deepdepixelate.data.sources import (
    FaceSource,
    RejectedImageError,
    check_celeba,
    open_celeba,
    parquet,
)
from deepdepixelate.errors import UserError

FACES = {f"{number:06d}.jpg": jpeg(number) for number in range(1, 7)}
PARTITION = "000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n000004.jpg 2\n000005.jpg 2\n"
SPLITS = {
    "train": ["000001.jpg", "000002.jpg"],
    "val": ["000003.jpg"],
    "test": ["000004.jpg", "000005.jpg"],
}


def structs(faces: Mapping[str, bytes], *, paths: bool = True) -> list[dict[str, Any]]:
    """The column of the Hugging Face Hub."""
    return [{"bytes": data, "path": name if paths else None} for name, data in faces.items()]


def write(path: Path, /, rows: int | None = None, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def names_by_split(source: FaceSource) -> dict[str, list[str]]:
    return {split: list(names) for split, names in source.splits.items()}


def all_names(source: FaceSource) -> list[str]:
    return [name for names in source.splits.values() for name in names]


@pytest.mark.parametrize("folder", ["parquet", "data", "."])
def test_celeba_is_read_from_parquet_files_and_its_list(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder / "0.parquet", image=structs(dict(list(FACES.items())[:3])))
    write(tmp_path / folder / "1.parquet", image=structs(dict(list(FACES.items())[3:])))
    (tmp_path / "list_eval_partition.txt").write_text(PARTITION)
    check_celeba(tmp_path)
    source = open_celeba(tmp_path)
    assert names_by_split(source) == SPLITS
    assert source.unlisted == 1
    assert source.missing == {"train": 0, "val": 0, "test": 0}
    for name in all_names(source):
        assert source.images.read(name) == FACES[name]


@pytest.mark.parametrize(
    "columns",
    [
        {"image": list(FACES.values()), "image_id": list(FACES)},
        {"jpg": list(FACES.values()), "file_name": [f"img_align_celeba/{name}" for name in FACES]},
        {"image": structs(FACES, paths=False), "image_id": list(FACES), "celeb_id": [1] * 6},
        {"bytes": pa.array(FACES.values(), pa.large_binary()), "name": list(FACES)},
        {"label": [b"a"] * 6, "image": list(FACES.values()), "path": list(FACES)},
        {"image": list(FACES.values()), "name": pa.array(FACES).dictionary_encode()},
    ],
)
def test_columns_of_other_writers_are_understood(
    tmp_path: Path, columns: Mapping[str, Any]
) -> None:
    write(tmp_path / "parquet/a.parquet", **columns)
    (tmp_path / "list_eval_partition.csv").write_text("image_id,partition\n" + PARTITION)
    source = open_celeba(tmp_path)
    assert names_by_split(source) == SPLITS
    assert source.images.read("000004.jpg") == FACES["000004.jpg"]


@pytest.mark.parametrize(
    "values",
    [
        [0, 0, 1, 2, 2, 0],
        [0.0, 0.0, 1.0, 2.0, 2.0, 0.0],
        ["train", "Train", "validation", "test", "test", "train"],
        pa.array(["train", "train", "val", "test", "test", "train"]).dictionary_encode(),
    ],
)
def test_a_column_with_the_split_needs_no_list(tmp_path: Path, values: Sequence[object]) -> None:
    write(tmp_path / "a.parquet", image=structs(FACES), split=values)
    source = open_celeba(tmp_path)
    assert names_by_split(source) == {**SPLITS, "train": [*SPLITS["train"], "000006.jpg"]}
    assert source.unlisted == 0


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        (*("train-00000-of-00019.parquet", "valid-00000-of-00002.parquet"), "test-0.parquet"),
        ("train.parquet", "validation.parquet", "test.parquet"),
        ("default/train/0000.parquet", "default/validation/0000.parquet", "x/test/0000.parquet"),
    ],
)
def test_names_of_files_state_the_split_and_name_images_without_a_name(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    faces = list(FACES.values())
    for path, images in ((train, faces[:3]), (val, faces[3:4]), (test, faces[4:])):
        write(tmp_path / "parquet" / path, rows=2, image=[{"bytes": each} for each in images])
    source = open_celeba(tmp_path)
    assert {split: len(names) for split, names in source.splits.items()} == {
        "train": 3,
        "val": 1,
        "test": 2,
    }
    stem = train.removesuffix(".parquet").replace("/", "-")
    assert source.splits["train"] == [f"{stem}-{row:06d}" for row in range(3)]
    assert [source.images.read(name) for name in all_names(source)] == faces


@pytest.mark.parametrize("copy", ["img_align+identity", "snapshots/0123/img_align+identity", "."])
@pytest.mark.parametrize("folders", [True, False])
def test_a_copy_of_the_hub_is_found_below_the_folder(
    tmp_path: Path, copy: str, folders: bool
) -> None:
    for split, names in SPLITS.items():
        path = f"{split}/0.parquet" if folders else f"{split}-00000-of-00001.parquet"
        write(tmp_path / copy / path, image=structs({name: FACES[name] for name in names}))
    (tmp_path / "README.md").write_text("of the Hub")
    check_celeba(tmp_path)
    source = open_celeba(tmp_path)
    assert names_by_split(source) == SPLITS
    assert source.origin["path"] == str((tmp_path / copy).resolve())
    assert source.images.read("000003.jpg") == FACES["000003.jpg"]


def test_copies_of_several_data_sets_are_reported(tmp_path: Path) -> None:
    for name in ("img_align", "img_align+identity"):
        write(tmp_path / name / "train.parquet", image=structs(FACES))
    message = r"Parquet files in 2 folders: img_align, img_align\+identity. Name one of them"
    with pytest.raises(UserError, match=message):
        open_celeba(tmp_path)


def test_parquet_files_beside_images_are_not_searched_for(tmp_path: Path) -> None:
    (tmp_path / "000001.jpg").write_bytes(FACES["000001.jpg"])
    write(tmp_path / "old/train.parquet", image=structs(FACES))
    (tmp_path / "list_eval_partition.txt").write_text(PARTITION)
    assert all_names(open_celeba(tmp_path)) == ["000001.jpg"]


def test_an_archive_or_a_folder_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "parquet/a.parquet", image=structs(FACES))
    (tmp_path / "list_eval_partition.txt").write_text(PARTITION)
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "img_align_celeba/000001.jpg").write_bytes(b"of the folder")
    source = open_celeba(tmp_path)
    assert all_names(source) == ["000001.jpg"]
    assert source.images.read("000001.jpg") == b"of the folder"


def test_links_as_in_the_cache_of_the_hub_are_followed(tmp_path: Path) -> None:
    blob = write(tmp_path / "blobs/0123", image=structs(FACES))
    (tmp_path / "snapshot/data").mkdir(parents=True)
    (tmp_path / "snapshot/data/train-0.parquet").symlink_to(blob)
    (tmp_path / "snapshot/list_eval_partition.txt").write_text(PARTITION)
    assert len(open_celeba(tmp_path / "snapshot").splits["train"]) == 6


def many(count: int) -> dict[str, bytes]:
    return {f"{number:06d}.jpg": b"%d" % number * (number % 50 + 1) for number in range(count)}


@pytest.mark.parametrize("rows", [7, 100, 1000])
def test_rows_are_read_in_any_order_on_several_threads_and_in_other_processes(
    tmp_path: Path, rows: int
) -> None:
    faces = many(300)
    write(tmp_path / "train-0.parquet", rows=rows, image=structs(faces))
    images = pickle.loads(pickle.dumps(open_celeba(tmp_path).images))  # noqa: S301
    orders = [list(faces), list(reversed(faces)), sorted(faces, key=lambda name: name[::-1])]
    with ThreadPoolExecutor(4) as pool:
        for order in orders:
            assert list(pool.map(images.read, order)) == [faces[name] for name in order]


def test_reading_in_order_decodes_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "train-0.parquet", rows=1000, image=structs(many(1000)))
    source = open_celeba(tmp_path)
    read = parquet._Reader.read
    calls: list[int] = []

    def recorded(reader: parquet._Reader) -> object:
        calls.append(reader.next_row)
        return read(reader)

    monkeypatch.setattr(parquet._Reader, "read", recorded)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(source.images.read, source.splits["train"]))
    assert calls == list(range(0, 1000, 16))


def test_stamps_differ_by_row_and_change_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "train-0.parquet", image=structs(FACES))
    before = open_celeba(tmp_path).images
    stamps = {before.stamp(name) for name in FACES}
    assert len(stamps) == 6
    write(path, image=structs({**FACES, "000007.jpg": jpeg(7)}))
    after = open_celeba(tmp_path).images
    assert not stamps & {after.stamp(name) for name in FACES}


# -- what is rejected ------------------------------------------------------------------------------


def test_rows_that_cannot_be_used_are_reported(tmp_path: Path) -> None:
    rows = [
        *structs({"000001.jpg": jpeg(1), "../../evil.jpg": jpeg(2), "/etc/evil.jpg": jpeg(2)}),
        *structs({"000001.jpg": jpeg(3), "new\nline.jpg": jpeg(4), "a/": jpeg(5)}),
        {"bytes": None, "path": "000002.jpg"},
        None,
        {"bytes": jpeg(6), "path": "x" * 5000},
    ]
    write(tmp_path / "train-0.parquet", image=rows)
    source = open_celeba(tmp_path)
    names = source.splits["train"]
    assert names == ["000001.jpg", "000002.jpg", "a", "train-0-000007"]
    assert source.images.read("000001.jpg") == jpeg(1)
    for name in ("000002.jpg", "train-0-000007"):
        with pytest.raises(RejectedImageError, match="its row has no image"):
            source.images.read(name)
    reasons = [each["reason"] for each in source.origin["left_out"]]
    assert reasons == [
        "train-0.parquet, row 1: its path leaves the folder",
        "train-0.parquet, row 2: its path leaves the folder",
        "train-0.parquet, row 3: another row has this name and is used",
        "train-0.parquet, row 4: its name has control characters or is not UTF-8",
        "train-0.parquet, row 8: its name has 5,000 characters",
    ]


def test_an_unknown_split_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", image=structs(FACES), split=["train"] * 5 + ["holdout"])
    source = open_celeba(tmp_path)
    assert len(source.splits["train"]) == 5
    assert "'holdout', expected train, val or test" in source.origin["left_out"][0]["reason"]


@pytest.mark.parametrize(
    "columns",
    [
        {"image": ["text"], "label": [1]},
        {"image": [1.5]},
        {"image": [{"path": "a.jpg"}]},
        {"image": [{"bytes": "text", "path": "a.jpg"}]},
        {"image": [[b"list"]]},
        {"first": [b"1"], "second": [b"2"]},
    ],
)
def test_columns_of_other_types_are_reported(tmp_path: Path, columns: Mapping[str, Any]) -> None:
    write(tmp_path / "train-0.parquet", **columns)
    for use in (open_celeba, check_celeba):
        with pytest.raises(UserError, match=r"cannot tell which column.*columns are \w+: "):
            use(tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.99])
def test_a_file_cut_short_is_reported(tmp_path: Path, kept: float) -> None:
    path = write(tmp_path / "train-0.parquet", image=structs(FACES))
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(UserError, match=r"train-0\.parquet is not a complete Parquet file"):
        open_celeba(tmp_path)


def test_a_damaged_page_rejects_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "train-0.parquet"
    table = pa.table({"image": structs(many(64)), "image_id": list(many(64))})
    pq.write_table(table, path, row_group_size=32, compression="gzip", use_dictionary=False)
    source = open_celeba(tmp_path)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    content = bytearray(path.read_bytes())
    start = chunk.data_page_offset + 40
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    outcomes: dict[str, bytes | str] = {}
    for name in source.splits["train"]:
        try:
            outcomes[name] = source.images.read(name)
        except RejectedImageError as error:
            outcomes[name] = str(error)
    assert all("damaged in the Parquet" in str(each) for each in list(outcomes.values())[:32])
    assert list(outcomes.values())[32:] == list(many(64).values())[32:]


def test_a_claim_of_many_rows_takes_no_memory(tmp_path: Path) -> None:
    nulls = pa.table({"image": pa.nulls(3_000_000, pa.binary())})
    pq.write_table(nulls, tmp_path / "train-0.parquet")
    assert (tmp_path / "train-0.parquet").stat().st_size < 10_000
    with pytest.raises(UserError, match="more than 2,000,000 rows"):
        open_celeba(tmp_path)
