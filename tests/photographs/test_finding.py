import os
from collections import Counter
from pathlib import Path

import pytest

from deepdepixelate.errors import UserError
from deepdepixelate.photographs.finding import Source, find_photographs, name_outputs

OUTPUT = Path("out")


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def found_in(*inputs: Path, output: Path = OUTPUT) -> list[str]:
    return [
        str(each.folder / each.path.name) for each in find_photographs(inputs, output).photographs
    ]


def names(*photographs: str) -> list[str]:
    asked = [Source(Path(each)) for each in photographs]
    return [place.name for place in name_outputs(asked, OUTPUT, ["-m-4x.png"] * len(asked))]


def test_a_missing_input_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    photograph = make(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"there is no photograph .*missing\.png"):
        find_photographs([photograph, tmp_path / "missing.png"], OUTPUT)
    with pytest.raises(UserError, match="there is no photograph"):
        find_photographs([tmp_path / ("x" * 300)], OUTPUT)


def test_the_error_for_a_folder_without_images_counts_other_files(tmp_path: Path) -> None:
    make(tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"no images in .* \(skipped: 1 \.txt\)"):
        find_photographs([tmp_path], OUTPUT)


def test_one_named_twice_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = make(tmp_path / "a.png"), make(tmp_path / "b.jpg")
    monkeypatch.chdir(tmp_path)
    found = find_photographs([Path("b.jpg"), tmp_path], OUTPUT)
    assert [each.path for each in found.photographs] == [Path("b.jpg"), a]
    assert b.exists()


def test_folders_below_are_mirrored(tmp_path: Path) -> None:
    for name in ("b.jpg", "deep/er/a.png", "deep/c.webp"):
        make(tmp_path / "in" / name)
    assert found_in(tmp_path / "in") == ["b.jpg", "deep/c.webp", "deep/er/a.png"]
    (place,) = name_outputs([Source(Path("in/deep/c.webp"), Path("deep"))], OUTPUT, ["-m-4x.png"])
    assert place == OUTPUT / "deep" / "c-m-4x.png"


def test_every_format_that_pillow_decodes_is_found(tmp_path: Path) -> None:
    expected = ["a.avif", "a.heic", "a.ico", "a.jp2", "a.jpg", "a.pbm", "a.psd", "a.qoi", "a.tga"]
    for name in [*expected, "a.h5", "a.mpg", "a.pdf", "a.eps"]:
        make(tmp_path / name)
    assert found_in(tmp_path) == expected


def test_what_is_skipped_is_counted_by_kind(tmp_path: Path) -> None:
    for name in ("a.png", "b.txt", "c.TXT", "d.mov", "README", ".hidden.jpg", ".git/e.png"):
        make(tmp_path / "in" / name)
    make(tmp_path / "elsewhere" / "f.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    found = find_photographs([tmp_path / "in"], OUTPUT)
    assert [each.path.name for each in found.photographs] == ["a.png"]
    expected = {".txt": 2, ".mov": 1, "without a suffix": 1, "hidden": 2, "linked folder": 1}
    assert found.skipped == Counter(expected)


def test_enlargements_below_the_folder_are_not_enlarged_again(tmp_path: Path) -> None:
    make(tmp_path / "a.png")
    make(tmp_path / "out" / "a-m-4x.png")
    assert found_in(tmp_path, output=tmp_path / "out") == ["a.png"]


def test_a_folder_that_cannot_be_read_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "a.png")
    locked = make(tmp_path / "locked" / "b.png").parent
    real = os.scandir

    def scan(path: str) -> object:  # as root may read anything
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    found = find_photographs([tmp_path], OUTPUT)
    assert [each.path.name for each in found.photographs] == ["a.png"]
    (failure,) = found.failures
    assert (failure.path, failure.reason) == (locked, "cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("photographs", "expected"),
    [
        (["a.jpg", "b.jpg"], ["a-m-4x.png", "b-m-4x.png"]),
        (["a.jpg", "a.png", "b.jpg"], ["a.jpg-m-4x.png", "a.png-m-4x.png", "b-m-4x.png"]),
        (["a.jpg", "A.png"], ["a.jpg-m-4x.png", "A.png-m-4x.png"]),
        (["x/a.jpg", "y/a.jpg"], ["a.jpg-m-4x.png", "a.jpg-2-m-4x.png"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg-2-m-4x.png", "a.png-m-4x.png", "a.jpg-m-4x.png"]),
        (["é.jpg", "e\u0301.png"], ["é.jpg-m-4x.png", "e\u0301.png-m-4x.png"]),
    ],
)
def test_names_are_distinct(photographs: list[str], expected: list[str]) -> None:
    assert names(*photographs) == expected


def test_a_broken_link_is_found_and_fails_later(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert found_in(tmp_path) == ["a.png"]
    assert found_in(tmp_path / "a.png") == ["a.png"]
