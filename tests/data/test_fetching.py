"""Downloads of one file, from servers on loopback that fail in every way."""

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest
from file_server import QUOTA_PAGE, Behaviour, serve

from deepdepixelate.data import fetching
from deepdepixelate.data.fetching import RemoteFile, fetch, fetch_all
from deepdepixelate.errors import UserError

CONTENT = bytes(range(256)) * 12_000  # 3 MB
FILE = RemoteFile(
    "faces.zip",
    "to be set",
    "md5",
    hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
    len(CONTENT),
    remedy="Or do it by hand.",
)


def behaviour(content: bytes = CONTENT, **settings: Any) -> Behaviour:
    return Behaviour({"/faces.zip": content}, **settings)


def get(folder: Path, server: Behaviour, **changes: Any) -> None:
    with serve(server) as url:
        fetch(replace(FILE, **{"url": f"{url}/faces.zip", **changes}), folder)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which are left out."""
    waited: list[float] = []
    monkeypatch.setattr(fetching, "time", SimpleNamespace(sleep=waited.append))
    return waited


def assert_complete(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["faces.zip"]
    assert (folder / "faces.zip").read_bytes() == CONTENT


def test_a_download_that_breaks_off_continues(tmp_path: Path, pauses: list[float]) -> None:
    server = behaviour(breaks=[1_000_000, 500_000, 7])
    get(tmp_path, server)
    assert_complete(tmp_path)
    assert server.ranges_asked[0] is None
    assert len(server.asked) == 4
    assert all(asked and asked.startswith("bytes=") for asked in server.ranges_asked[1:])
    assert pauses == [1, 1, 2]


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_server_without_ranges_sends_all_of_it_again(tmp_path: Path, size: int | None) -> None:
    server = behaviour(breaks=[1_000_000, 600_000], ranges=False)
    get(tmp_path, server, size=size)
    assert_complete(tmp_path)
    assert len(server.asked) == 3


def test_a_slow_server_is_waited_for(tmp_path: Path) -> None:
    get(tmp_path, behaviour(pause=0.01))
    assert_complete(tmp_path)


def test_a_server_without_lengths_is_checked_by_the_size(tmp_path: Path) -> None:
    get(tmp_path, behaviour(length="", breaks=[1_000_000]))
    assert_complete(tmp_path)


@pytest.mark.parametrize("length", ["5", "99999999", "many"])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_wrong_length_never_passes_for_the_file(
    tmp_path: Path, length: str, size: int | None
) -> None:
    with suppress(UserError):
        get(tmp_path, behaviour(length=length), size=size)
    if (tmp_path / "faces.zip").exists():
        assert_complete(tmp_path)
    else:
        get(tmp_path, behaviour())
        assert_complete(tmp_path)


@pytest.mark.parametrize("broken", [False, True])
def test_a_file_that_changes_between_attempts_is_downloaded_again(
    tmp_path: Path, broken: bool
) -> None:
    other = bytes(len(CONTENT))
    if broken:
        get(tmp_path, behaviour(other, breaks=[1_000_000], changes=[CONTENT]))
    else:
        (tmp_path / "faces.zip.part").write_bytes(other[:1_000_000])
        get(tmp_path, behaviour())
    assert_complete(tmp_path)


@pytest.mark.parametrize("extra", [0, 10])
def test_a_complete_part_is_checked(tmp_path: Path, extra: int) -> None:
    (tmp_path / "faces.zip.part").write_bytes(CONTENT + bytes(extra))
    server = behaviour()
    get(tmp_path, server)
    assert_complete(tmp_path)
    assert len(server.asked) == (1 if extra else 0)


def test_a_file_with_another_hash_is_removed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"another file, with the hash .*removed\. Or"):
        get(tmp_path, behaviour(CONTENT[:-1] + b"x"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_more_bytes_than_the_file_has_are_refused(
    tmp_path: Path, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_LARGEST", len(CONTENT))
    with pytest.raises(UserError, match="sent more than"):
        get(tmp_path, behaviour(CONTENT * 2, length=""), size=size)
    assert not (tmp_path / "faces.zip").exists()
    get(tmp_path, behaviour())
    assert_complete(tmp_path)


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(CONTENT)
    server = behaviour()
    get(tmp_path, server)
    assert server.asked == []


def test_a_users_other_file_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "faces.zip"
    for make in (
        lambda: place.write_bytes(b"mine"),
        lambda: place.mkdir(),
        lambda: place.symlink_to("nowhere"),
    ):
        make()
        with pytest.raises(UserError, match=r"faces\.zip exists, but is not the file.*Move it"):
            get(tmp_path, behaviour())
        place.rmdir() if place.is_dir() else place.unlink()
        assert not list(tmp_path.iterdir())


def test_a_part_that_is_a_link_or_a_folder_is_not_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    part, outside = folder / "faces.zip.part", tmp_path / "outside"
    outside.write_bytes(b"mine")
    part.symlink_to(outside)
    with pytest.raises(UserError, match=r"faces\.zip\.part is not a regular file: move it"):
        get(folder, behaviour())
    assert outside.read_bytes() == b"mine"
    part.unlink()
    part.mkdir()
    with pytest.raises(UserError, match="is not a regular file"):
        get(folder, behaviour())


def test_a_page_instead_of_the_file_is_reported_with_its_title(tmp_path: Path) -> None:
    (tmp_path / "faces.zip.part").write_bytes(CONTENT[:100])
    with pytest.raises(UserError, match=r"Quota exceeded.*may work tomorrow\. Or do it by hand"):
        get(tmp_path, behaviour(page=QUOTA_PAGE))
    assert (tmp_path / "faces.zip.part").read_bytes() == CONTENT[:100]
    with pytest.raises(UserError, match="answered with a web page instead of the file"):
        get(tmp_path, behaviour(page=b"\xff\x00" * 1000))


@pytest.mark.parametrize("status", [204, 401, 403, 404])
def test_a_refusal_is_one_message(tmp_path: Path, status: int) -> None:
    server = behaviour(status=status)
    with pytest.raises(UserError, match=f"the server answered {status} .*by hand"):
        get(tmp_path, server)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_several_times(
    tmp_path: Path, status: int, pauses: list[float]
) -> None:
    server = behaviour(status=status)
    with pytest.raises(UserError, match=f"the server answered {status}"):
        get(tmp_path, server)
    assert len(server.asked) == 5
    assert pauses == [2, 4, 8, 16]


def test_attempts_without_progress_end_with_a_message(tmp_path: Path) -> None:
    server = behaviour(breaks=[500_000, *[0] * 20])
    with pytest.raises(UserError, match=r"bytes are in .*part, and the same command continues"):
        get(tmp_path, server)
    assert len(server.asked) == 6
    assert 400_000 < (tmp_path / "faces.zip.part").stat().st_size <= 500_000
    get(tmp_path, behaviour())
    assert_complete(tmp_path)


def test_a_server_that_never_finishes_the_whole_file_ends_with_a_message(tmp_path: Path) -> None:
    server = behaviour(breaks=[500_000, 100_000] * 20, ranges=False)
    with pytest.raises(UserError, match="the same command continues"):
        get(tmp_path, server)
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://[::1", "nowhere", "http://.invalid/", "ftp://host/"]
)
def test_an_address_that_does_not_work_is_one_message(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=r"faces\.zip cannot be downloaded: .*by hand"):
        get(tmp_path, behaviour(), url=url)


@pytest.mark.parametrize("target", ["/faces.zip", "file:///etc/passwd", "http://[", "//a..b/"])
def test_redirections_that_lead_nowhere_are_one_message(tmp_path: Path, target: str) -> None:
    with pytest.raises(UserError, match=r"faces\.zip cannot be downloaded: "):
        get(tmp_path, behaviour(redirect=target))
    assert not (tmp_path / "faces.zip").exists()


def test_a_full_disk_is_reported_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    server = behaviour()
    with serve(server) as url:
        file = replace(FILE, url=f"{url}/faces.zip")
        with pytest.raises(UserError, match="Free disk space"):
            fetch_all([file], tmp_path)
        assert server.asked == []
        with pytest.raises(UserError, match="Free disk space"):
            fetch(replace(file, size=None), tmp_path)
        (tmp_path / "faces.zip.part").write_bytes(CONTENT[:-free])
        assert fetch_all([file], tmp_path) == [
            {"name": "faces.zip", "bytes": len(CONTENT), "md5": FILE.digest}
        ]


PROGRAM = f"""
import sys
from pathlib import Path
from deepdepixelate.data.fetching import RemoteFile, fetch
fetch(RemoteFile("faces.zip", sys.argv[1], "md5", "{FILE.digest}"), Path(sys.argv[2]))
"""


def test_after_a_sigkill_only_the_rest_is_downloaded(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    part = tmp_path / "faces.zip.part"
    with serve(behaviour(pause=0.05)) as url:
        arguments = [sys.executable, "-c", PROGRAM, f"{url}/faces.zip", str(tmp_path)]
        process = subprocess.Popen(arguments, env=environment)
        deadline = monotonic() + 60
        while not (part.exists() and part.stat().st_size) and monotonic() < deadline:
            sleep(0.01)
        process.kill()
        process.wait()
    had = part.stat().st_size
    assert 0 < had < len(CONTENT)
    server = behaviour()
    get(tmp_path, server)
    assert server.ranges_asked == [f"bytes={had}-"]
    assert_complete(tmp_path)


def test_credentials_are_not_passed_on_to_another_server(tmp_path: Path) -> None:
    storage = behaviour()
    with serve(storage) as url:
        first = behaviour(redirect=f"{url}/faces.zip")
        get(tmp_path, first, headers={"Authorization": "Bearer secret"})
    assert_complete(tmp_path)
    assert (first.tokens, storage.tokens) == (["Bearer secret"], [None])
