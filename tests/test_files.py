import os
from pathlib import Path

import pytest

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write, make_folder, sync_directory, user_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_into_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    with atomic_write(path) as file:
        file.write(b"first ")
        file.write(b"second")
    assert path.read_bytes() == b"first second"
    assert names(path.parent) == ["file.bin"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with atomic_write(path) as file:
        file.write(b"content")
    assert path.read_bytes() == b"content"


def test_the_name_is_taken_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with atomic_write(path) as file:
        file.write(b"x" * 100_000)
        assert not path.exists()
    assert path.exists()


def test_the_old_content_stays_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"x" * 100_000)
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"x" * 100_000
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, error: BaseException, old: bytes | None
) -> None:
    path = tmp_path / "file.bin"
    if old is not None:
        path.write_bytes(old)

    def write_and_fail() -> None:
        with atomic_write(path) as file:
            file.write(b"new, but not all of it")
            raise error

    with pytest.raises(type(error)):
        write_and_fail()
    assert names(tmp_path) == ([] if old is None else ["file.bin"])
    assert old is None or path.read_bytes() == old


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"), atomic_write(path) as file:
            file.write(b"x" * 2000)  # small enough to fail only when it is flushed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"), atomic_write(tmp_path / "taken") as file:
        file.write(b"content")
    assert names(tmp_path) == ["taken"]


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX systems only")
def test_a_folder_that_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "nowhere")


@pytest.mark.parametrize("below", ["", "05_model_input/hr"])
def test_what_stands_where_a_folder_should_be_is_named(tmp_path: Path, below: str) -> None:
    data = tmp_path / "data"
    data.symlink_to(tmp_path / "disk")
    with pytest.raises(UserError, match="but a broken link") as raised:
        make_folder(data / below)
    assert str(raised.value).startswith(f"{data} is not a folder")
    (tmp_path / "disk").write_text("a file")
    data.unlink()
    data.write_text("a file")
    with pytest.raises(UserError, match="but a file") as raised:
        make_folder(data / below)
    assert str(raised.value).startswith(f"{data} is not a folder")
    data.unlink()
    make_folder(data / below)
    assert (data / below).is_dir()


@pytest.mark.parametrize("name", ["~nobody-of-this-name", "$nothing-of-this-name", "a$", "%20"])
def test_a_path_that_only_looks_like_another_is_itself(name: str) -> None:
    assert user_path(name) == Path(name)
