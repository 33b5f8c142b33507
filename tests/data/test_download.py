"""CelebA's own files and copies on the Hugging Face Hub, from servers on loopback."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from file_server import COMMIT, Behaviour, hub_files, serve
from filelock import FileLock
from pydantic import ValidationError

from deepdepixelate.data import download as module
from deepdepixelate.data.download import CELEBA_FILES, celeba_files, download
from deepdepixelate.errors import UserError
from deepdepixelate.files import find_file
from deepdepixelate.parameters import DownloadParameters

FILES = {"img_align_celeba.zip": b"zip" * 40_000, "list_eval_partition.txt": b"000001.jpg 0\n"}


def parameters(**changes: str) -> DownloadParameters:
    settings = {
        "source": "celeba",
        "server": "https://host/get?id=ID",
        "repository": "faces/celeba",
        "revision": "main",
        "files": "*.parquet",
    }
    return DownloadParameters.model_validate({**settings, **changes})


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_the_files_are_those_of_torchvision() -> None:
    path = find_file("torchvision", "torchvision/datasets/celeba.py", install="pip install")
    lines = path.read_text().splitlines()
    for name, identifier, digest, _ in CELEBA_FILES:
        expected = f'("{identifier}", "{digest}", "{name}"),'
        assert expected in map(str.strip, lines)


def test_the_size_of_the_list_is_right(shared: Path) -> None:
    (path,) = (shared / "celeba").glob("list_*")
    ((_, _, digest, size),) = [each for each in CELEBA_FILES if each[0] == path.name]
    assert (md5(path.read_bytes()), path.stat().st_size) == (digest, size)


def test_celebas_files_are_downloaded_and_then_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = [(name, f"id-{name}", md5(FILES[name]), len(FILES[name])) for name in FILES]
    monkeypatch.setattr(module, "CELEBA_FILES", table)
    server = Behaviour({f"id-{name}": content for name, content in FILES.items()})
    with serve(server) as url:
        for _ in range(2):
            report = download(tmp_path, parameters(server=f"{url}/get?id=ID"))
            assert report == {
                "source": "CelebA, from its authors",
                "files": [
                    {"name": name, "bytes": len(content), "md5": md5(content)}
                    for name, content in FILES.items()
                ],
            }
    assert len(server.asked) == len(FILES)
    for name, content in FILES.items():
        assert (tmp_path / name).read_bytes() == content


def test_a_failure_names_the_other_ways(tmp_path: Path) -> None:
    archive = celeba_files(tmp_path, "https://host/get?id=ID")[0]
    for part in (
        str(tmp_path / "img_align_celeba.zip"),
        "1,443,490,838 bytes, MD5 00d2c5bc6d35e252742224ab0c1e8fcb",
        "--params download.source=hub",
    ):
        assert part in archive.remedy


def test_two_downloads_to_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".download.lock"),
        pytest.raises(UserError, match=r"another download to .* is running"),
    ):
        download(tmp_path, parameters())


@pytest.mark.parametrize("server", ["host/get?id=ID", "https://host/get?id=5", "file:///ID"])
def test_an_address_without_protocol_or_identifier_is_refused(server: str) -> None:
    with pytest.raises(ValidationError, match="begins with https"):
        parameters(server=server)


# -- the Hub ---------------------------------------------------------------------------------------

PARQUET = {
    f"img_align+identity/train-0000{number}-of-00002.parquet": bytes([number]) * 500_000
    for number in (0, 1)
}
HUB = {**PARQUET, "README.md": b"text", ".hidden/a.parquet": b"hidden"}

PROGRAM = """
import json, sys
from pathlib import Path
from deepdepixelate.data.download import download
from deepdepixelate.errors import UserError
from deepdepixelate.parameters import DownloadParameters
try:
    report = download(Path(sys.argv[1]), DownloadParameters(**json.loads(sys.argv[2])))
    print(json.dumps(report))
except UserError as error:
    sys.exit(str(error))
"""


def from_hub(
    folder: Path, server: Behaviour, **changes: str
) -> tuple[int, str, "subprocess.CompletedProcess[str]"]:
    """Exit code and output, in a process: huggingface_hub reads HF_ENDPOINT when imported."""
    settings = parameters(source="hub", **changes).model_dump_json()
    with serve(server) as url:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "HF_ENDPOINT": url,
            "HF_HOME": str(folder / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_token",
        }
        outcome = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(folder / "celeba"), settings],
            env=environment, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
    return outcome.returncode, outcome.stdout, outcome


def assert_refused(folder: Path, server: Behaviour, *parts: str, **changes: str) -> None:
    _, _, outcome = from_hub(folder, server, **changes)
    assert outcome.returncode == 1
    assert "Traceback" not in outcome.stderr
    for part in parts:
        assert part in outcome.stderr


def test_parquet_files_come_from_the_hub(tmp_path: Path) -> None:
    server = Behaviour(hub_files("faces/celeba", HUB), breaks=[200_000])
    for _ in range(2):  # the second time, all files exist
        code, output, outcome = from_hub(tmp_path, server)
        assert code == 0, outcome.stderr
        assert json.loads(output) == {
            "source": "https://huggingface.co/datasets/faces/celeba",
            "revision": COMMIT,
            "files": [
                {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in PARQUET.items()
            ],
        }
    assert server.tokens == ["Bearer hf_token"] * 3
    place = tmp_path / "celeba/parquet"
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert found == set(PARQUET)
    for name, content in PARQUET.items():
        assert (place / name).read_bytes() == content


def test_files_outside_lfs_are_checked_by_their_git_hash(tmp_path: Path) -> None:
    server = Behaviour(hub_files("faces/celeba", HUB))
    code, _, outcome = from_hub(tmp_path, server, files="README.md")
    assert code == 0, outcome.stderr
    assert (tmp_path / "celeba/parquet/README.md").read_bytes() == b"text"
    stated = {**HUB, "README.md": b"Text"}
    server = Behaviour(hub_files("faces/celeba", HUB, stated=stated))
    other = tmp_path / "other"
    assert_refused(other, server, "README.md cannot be downloaded", "(git)", files="README.md")


def test_an_unfinished_download_is_not_in_the_folder_that_is_ingested(tmp_path: Path) -> None:
    first, second = PARQUET
    stated = {**HUB, second: bytes(500_000)}
    server = Behaviour(hub_files("faces/celeba", HUB, stated=stated))
    assert_refused(tmp_path, server, f"{second} cannot be downloaded", "another file", "(sha256)")
    assert not (tmp_path / "celeba/parquet").exists()
    assert (tmp_path / "celeba/parquet.part" / first).read_bytes() == PARQUET[first]
    server = Behaviour(hub_files("faces/celeba", HUB))
    assert from_hub(tmp_path, server)[0] == 0
    assert [name for name, _ in server.asked] == [
        f"/datasets/faces/celeba/resolve/{COMMIT}/{second}"
    ]


def test_other_parquet_files_are_neither_replaced_nor_mixed(tmp_path: Path) -> None:
    server = Behaviour(hub_files("faces/celeba", HUB))
    first, second = PARQUET
    for folder in ("parquet", "parquet.part"):
        other = tmp_path / "celeba" / folder / "mine.parquet"
        for name, content in PARQUET.items():
            path = other.parent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        other.write_bytes(b"mine")
        assert_refused(tmp_path, server, f"{other} is not one of the files", COMMIT)
        other.unlink()
        changed = other.parent / first
        changed.write_bytes(b"mine")
        assert_refused(tmp_path, server, f"{changed} exists, but is not the file")
        assert changed.read_bytes() == b"mine"
        changed.write_bytes(PARQUET[first])
        if folder == "parquet":
            (other.parent / second).unlink()
            assert_refused(tmp_path, server, f"{other.parent} exists, but lacks {second}")
            (tmp_path / "celeba/parquet").rename(tmp_path / "moved")
    assert server.asked == []


@pytest.mark.parametrize(
    "name", ["../outside.parquet", "/outside.parquet", "a/../../b.parquet", "a\nb.parquet"]
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    server = Behaviour(hub_files("faces/celeba", {name: b"content"}))
    assert_refused(tmp_path, server, "faces/celeba has a file", "its ")
    assert {path.name for path in tmp_path.rglob("*.parquet")} == set()
    assert server.asked == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"files": "*.zip"}, "has no files *.zip at revision main: it has img_align"),
        ({"repository": "faces/other"}, "faces/other on the Hugging Face Hub cannot be read"),
        ({"repository": "faces and more"}, "on the Hugging Face Hub cannot be read"),
        ({"revision": "v2"}, "Check download.repository and download.revision"),
    ],
)
def test_what_the_hub_lacks_is_one_message(
    tmp_path: Path, changes: dict[str, str], expected: str
) -> None:
    assert_refused(tmp_path, Behaviour(hub_files("faces/celeba", HUB)), expected, **changes)


@pytest.mark.parametrize(
    "answer",
    [
        b"no JSON",
        b"[]",
        b'{"id": "faces/celeba", "sha": "0", "siblings": 5}',
        b'{"id": "faces/celeba", "sha": "0", "siblings": [{"rfilename": 5}]}',
        b'{"id": "faces/celeba", "sha": "0", "siblings": [{"rfilename": "a.parquet"}]}',
    ],
)
def test_answers_of_the_hub_that_make_no_sense_are_one_message(
    tmp_path: Path, answer: bytes
) -> None:
    path = "/api/datasets/faces/celeba/revision/main"
    assert_refused(tmp_path, Behaviour({path: answer}), "faces/celeba ")
