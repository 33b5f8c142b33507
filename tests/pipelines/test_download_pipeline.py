"""The download as a command: killed, stopped and continued; and what comes after it."""

import hashlib
import json
import os
import signal
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_server import QUOTA_PAGE, Behaviour, hub_files, serve
from kedro_project import Project, make_project
from processes import Process
from small_faces import encode, picture, write_celeba

pytestmark = pytest.mark.slow

SPLITS = {"train": 4, "valid": 2, "test": 2}


def face(seed: int) -> bytes:
    return encode(picture(seed, 178, 218), "JPEG")


def celeba(folder: Path) -> dict[str, bytes]:
    """Small versions of CelebA's files. The archive has some megabytes of noise in it."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    images = {f"{number:06d}.jpg": face(number) for number in range(8)}
    images["noise.png"] = encode(noise, "PNG", compress_level=0)
    partition = "".join(f"{number:06d}.jpg {number % 3}\n" for number in range(8))
    write_celeba(folder, images, partition)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def use_files(files: dict[str, tuple[str, int]]) -> None:
    """Replace CelebA's files; called in the process of the command."""
    table = [(name, name, md5, size) for name, (md5, size) in files.items()]
    patch("deepdepixelate.data.download.CELEBA_FILES", table).start()


def replacing(files: dict[str, bytes]) -> "partial[None]":
    hashes = {
        name: (hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content))
        for name, content in files.items()
    }
    return partial(use_files, hashes)


def arguments(url: str, folder: Path) -> list[str]:
    settings = f"download.server={url}/get?id=ID,celeba_dir={folder}"
    return ["run", "--pipeline", "download", "--params", settings]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_download_is_continued_and_then_ingested(
    tmp_path: Path, number: signal.Signals
) -> None:
    files = celeba(tmp_path / "files")
    project = make_project(tmp_path / "project")
    folder, log = tmp_path / "celeba", tmp_path / "log"
    part = folder / "img_align_celeba.zip.part"
    with serve(Behaviour(files, pause=0.1)) as url:
        process = Process(
            "kedro", *arguments(url, folder), folder=project.path, stdout=log, stderr=log,
            before=replacing(files),
        )  # fmt: skip
        deadline = monotonic() + 120
        while not (part.exists() and part.stat().st_size) and monotonic() < deadline:
            sleep(0.01)
        os.kill(process.pid, number)
        code = process.wait(60)
    assert code == (-number if number == signal.SIGKILL else 128 + number), log.read_text()
    assert "Traceback" not in log.read_text()
    had = part.stat().st_size
    assert 0 < had < len(files["img_align_celeba.zip"])

    server = Behaviour(files)
    with serve(server) as url:
        command = arguments(url, folder)
        outcome = project.kedro(*command, before=replacing(files))
    outcome.assert_success()
    assert server.asked[0] == ("img_align_celeba.zip", f"bytes={had}-")
    for name, content in files.items():
        assert (folder / name).read_bytes() == content
    assert "Next: kedro run --env celeba --pipeline ingest (and your --params" in outcome.output
    report = project.path / "data/08_reporting/celeba/download_report.json"
    assert {each["name"] for each in json.loads(report.read_text())["files"]} == set(files)
    if number == signal.SIGKILL:
        ingest(project, "--params", f"celeba_dir={folder}")


def ingest(project: Project, *options: str) -> None:
    outcome = project.kedro("run", "--env", "celeba", "--pipeline", "ingest", *options)
    outcome.assert_success()


def test_without_parameters_it_writes_to_the_folder_of_the_environment(tmp_path: Path) -> None:
    files = celeba(tmp_path / "files")
    project = make_project(tmp_path / "project")
    (project.path / "conf/local").mkdir(exist_ok=True)
    (project.path / "conf/local/globals.yml").write_text("celeba_dir: data/01_raw/faces\n")
    with serve(Behaviour(files)) as url:
        server = f"download.server={url}/get?id=ID"
        for options in ([], ["--env", "celeba"]):
            outcome = project.kedro(
                "run", "--pipeline", "download", *options, "--params", server,
                before=replacing(files),
            )  # fmt: skip
            outcome.assert_success()
    assert (project.path / "data/01_raw/faces/img_align_celeba.zip").is_file()
    ingest(project)


def test_a_quota_and_a_url_are_one_message(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    with serve(Behaviour({}, page=QUOTA_PAGE)) as url:
        outcome = project.kedro(*arguments(url, tmp_path / "celeba"))
    outcome.assert_readable_error(
        "img_align_celeba.zip cannot be downloaded",
        "Google Drive - Quota exceeded",
        str(tmp_path / "celeba/img_align_celeba.zip"),
        "--params download.source=hub",
    )
    outcome = project.kedro(
        "run", "--pipeline", "download", "--params", "celeba_dir=memory://celeba"
    )
    outcome.assert_readable_error("memory://celeba is a URL", "a folder on this machine")
    assert not list(project.path.glob("memory*"))


def test_a_copy_from_the_hub_is_ingested(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    parquet = {}
    for seed, (split, count) in enumerate(SPLITS.items()):
        rows = [{"bytes": face(10 * seed + row), "path": None} for row in range(count)]
        pq.write_table(pa.table({"image": rows}), tmp_path / "file.parquet")
        name = f"img_align+identity/{split}-00000-of-00001.parquet"
        parquet[name] = (tmp_path / "file.parquet").read_bytes()
    with serve(Behaviour(hub_files("flwrlabs/celeba", parquet))) as url:
        outcome = project.kedro_from_scratch(
            "run", "--pipeline", "download", "--params", "download.source=hub",
            HF_ENDPOINT=url, HF_HUB_OFFLINE="0", HF_HOME=str(tmp_path / "home"),
        )  # fmt: skip
    outcome.assert_success()
    assert (project.path / "data/01_raw/celeba/parquet").is_dir()
    ingest(project)
    for split, count in SPLITS.items():
        folder = project.path / "data/05_model_input/celeba/hr" / split.replace("valid", "val")
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["count"] == count
