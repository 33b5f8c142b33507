"""Ingest, degrade and verify as commands: interrupted, damaged, on another engine."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
from kedro_project import Project, make_project

pytestmark = pytest.mark.slow

SETTINGS = "ingest.images_per_shard=5"
STAGES = ("run", "--pipelines", "ingest,degrade", "--params")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the sample's shards."""
    project = make_project(tmp_path_factory.mktemp("whole") / "project")
    project.kedro(*STAGES, SETTINGS).assert_success()
    return project


def shards(project: Project) -> Path:
    return project.path / "data/05_model_input/sample"


def contents(project: Project) -> dict[str, bytes]:
    folder = shards(project)
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_damage_is_found_and_repaired(whole: Project, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    shutil.copytree(shards(whole), shards(project))
    before = contents(project)
    outcome = project.kedro("run", "--pipeline", "verify")
    outcome.assert_success()
    assert f"all {sum(name.endswith('.npy') for name in before)} shards are intact" in (
        outcome.output
    )

    changed = shards(project) / "hr/train/shard-00003.npy"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    (shards(project) / "lr/val/shard-00001.npy").unlink()
    manifest = shards(project) / "lr/test/manifest.json"
    manifest.write_text(manifest.read_text().replace('"scale": 4', '"scale": 2', 1))
    untouched = (shards(project) / "hr/train/shard-00002.npy").stat().st_mtime_ns

    outcome = project.kedro("run", "--pipeline", "verify")
    outcome.assert_readable_error(
        "hr/train: shard-00003.npy",
        "lr/val: shard-00001.npy",
        "lr/test",
        "manifest.json is damaged",
        "kedro run --pipelines ingest,degrade",
    )
    report = json.loads((project.path / "data/08_reporting/sample/verify_report.json").read_text())
    assert report["hr/train"]["damaged"] == ["shard-00003.npy"]
    assert report["hr/val"] == {"shards": 4, "damaged": [], "problem": None}

    project.kedro(*STAGES, SETTINGS).assert_success()
    assert contents(project) == before
    assert (shards(project) / "hr/train/shard-00002.npy").stat().st_mtime_ns == untouched


def test_a_killed_ingestion_continues(whole: Project, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    command = [sys.executable, "-m", "kedro", *STAGES, SETTINGS]
    process = subprocess.Popen(command, cwd=project.path)
    finished = shards(project) / "hr/train"
    deadline = monotonic() + 120
    while len(list(finished.glob("shard-*.json"))) < 3 and monotonic() < deadline:
        sleep(0.001)
    process.kill()
    process.wait()
    assert not (shards(project) / "hr/test/manifest.json").exists()
    assert len(list(finished.glob("shard-*.json"))) >= 3
    outcome = project.kedro(*STAGES, SETTINGS)
    outcome.assert_success()
    assert "ingest train: kept" in outcome.output
    assert contents(project) == contents(whole)


def test_ray_writes_the_same_bytes(whole: Project, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    project = make_project(tmp_path / "project")
    project.kedro_from_scratch(*STAGES, f"{SETTINGS},engine=ray").assert_success()
    assert contents(project) == contents(whole)


def test_a_cluster_that_is_not_there_is_one_message(whole: Project) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    settings = f"{SETTINGS},engine=ray,ray.address=127.0.0.1:1"
    outcome = whole.kedro_from_scratch(*STAGES, settings)
    outcome.assert_readable_error("the Ray cluster 127.0.0.1:1 cannot be used", "ray.address")
