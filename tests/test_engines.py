"""The data stages on Ray: real clusters on loopback, whose bytes equal those of local threads."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_faces import INGESTION, jpeg, picture, write_celeba
from stored_images import FromMemory, plan_images, store_images

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.ingest import ingest
from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.data.sources import open_celeba
from deepdepixelate.data.writing import MadeImages, ShardTask, write_dataset
from deepdepixelate.errors import UserError
from deepdepixelate.evaluation import scoring
from deepdepixelate.evaluation.degraded import DegradedImages
from deepdepixelate.metrics.identity import find_identity
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.models.pretrained import find_generator
from deepdepixelate.parallel import LOCAL, Engine, RayEngine
from deepdepixelate.parameters import DegradedSet
from deepdepixelate.photographs.enhance import enhance

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow

PARAMETERS = INGESTION.model_copy(update={"max_rejected_fraction": 0.5, "images_per_shard": 5})
STORE = 80_000_000  # bytes of shared memory per node; the least that Ray takes is 75 MB


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without processors and two nodes with one each."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        started = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE}
        )
        for _ in range(2):
            started.add_node(num_cpus=1, object_store_memory=STORE)
        yield started
        ray.shutdown()
        started.shutdown()


@pytest.fixture(scope="module")
def engine(cluster: Any) -> Engine:
    return RayEngine(cluster.address)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def run(celeba: Path, folder: Path, engine: Engine) -> dict[str, dict[str, bytes]]:
    """Ingest and degrade; the content of every file."""
    written: dict[str, dict[str, bytes]] = {}
    for split, plan in ingest(open_celeba(celeba), PARAMETERS, engine).items():
        write_dataset(folder / "hr" / split, plan, split=split)
        hr = ShardedImages(folder / "hr" / split)
        write_dataset(folder / "lr" / split, degrade(hr, 4, None, engine), split=split)
        written[split] = contents(folder / "hr" / split) | {
            f"lr {name}": content for name, content in contents(folder / "lr" / split).items()
        }
    return written


def test_a_cluster_writes_the_bytes_of_local_threads(tmp_path: Path, engine: Engine) -> None:
    faces = {f"{number:06d}.jpg": jpeg(number) for number in range(1, 40)}
    faces["000007.jpg"] = faces["000007.jpg"][:200]  # damaged, so that a shard is shorter
    lines = [f"{name} {number % 3}" for number, name in enumerate(faces)]
    write_celeba(tmp_path / "celeba", faces, "\n".join(lines))
    local = run(tmp_path / "celeba", tmp_path / "local", LOCAL)
    assert run(tmp_path / "celeba", tmp_path / "ray", engine) == local


@dataclass(frozen=True)
class Slow:
    """Makes images slowly, and notes the process that makes each shard."""

    make: FromMemory
    notes: Path

    def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
        note = self.notes / f"{task.index}-{os.getpid()}-{os.getppid()}"
        note.touch()
        for made in self.make(task, threads):
            sleep(0.4)
            yield made


def test_a_killed_node_loses_no_work(tmp_path: Path, cluster: Any, engine: Engine) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 16, 3), dtype=np.uint8)
    names = [f"{number}.png" for number in range(60)]
    local = store_images(tmp_path / "local", names, pixels)
    (tmp_path / "notes").mkdir()
    doomed = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    raylet = doomed.all_processes["raylet"][0].process.pid
    results = 0

    def kill(details: object) -> None:
        """When the first shard is there, kill the new node in the middle of another."""
        nonlocal results
        results += 1
        deadline = monotonic() + 60
        while results == 1 and not _under_way(tmp_path, raylet):
            assert monotonic() < deadline
            sleep(0.01)
        if results == 1:
            cluster.remove_node(doomed, allow_graceful=False)

    plan = plan_images(
        names,
        pixels,
        make=Slow(FromMemory(pixels, 4), tmp_path / "notes"),
        engine=engine,
        check=kill,
    )
    write_dataset(tmp_path / "ray", plan, split="test")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert ShardedImages(tmp_path / "ray").manifest == local.manifest


def _under_way(folder: Path, raylet: int) -> bool:
    """Whether a process of this node is making a shard."""
    notes = [note.name.split("-") for note in (folder / "notes").iterdir()]
    return any(
        int(parent) == raylet and not (folder / "ray" / f"shard-{int(index):05d}.json").exists()
        for index, _, parent in notes
    )


def test_a_cluster_scores_as_this_machine_does(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_IMAGES_PER_TASK", 7)
    pixels = np.stack([picture(number) for number in range(20)])
    hr = store_images(tmp_path / "hr", [f"{number}.png" for number in range(20)], pixels)
    write_dataset(tmp_path / "lr", degrade(hr, 4), split="test")
    sets: dict[str, scoring.Pairs] = {
        "test": ImagePairs(hr, ShardedImages(tmp_path / "lr")),
        "noise": DegradedImages(hr, DegradedSet(noise_sigma=5), scale=4, limit=15),
    }
    settings: dict[str, Any] = {
        "models": scoring.enlargers({"srgan": find_generator("srgan")}, scale=4, device="cpu"),
        "batch_size": 3,
        "border": None,
        "st_lpips": STLPIPS(),
        "identity": find_identity("auto"),
    }
    local = scoring.score(sets, **settings)
    spread = scoring.score(sets, **settings, engine=engine)
    pd.testing.assert_frame_equal(spread.images, local.images, rtol=1e-5)
    pd.testing.assert_frame_equal(spread.spectra, local.spectra, rtol=1e-5)


def test_a_cluster_enlarges_photographs(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(picture(number)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in/broken.png").write_bytes(b"nothing")
    settings: dict[str, Any] = {
        "model": "auto",
        "faces": "ignore",
        "format": "png",
        "quality": 95,
        "strip_metadata": False,
        "overwrite": False,
        "max_pixels": 10**6,
        "tile": 64,
        "device": "cpu",
        "precision": "fp32",
        "self_ensemble": False,
    }
    for folder, chosen in (("local", LOCAL), ("ray", engine)):
        with pytest.raises(UserError, match=r"broken\.png"):
            enhance([tmp_path / "in"], tmp_path / folder, **settings, engine=chosen)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert sorted(contents(tmp_path / "ray")) == [f"{n}-srgan-4x.png" for n in range(3)]


def test_an_error_in_a_task_is_the_error_of_the_run(tmp_path: Path, engine: Engine) -> None:
    class Broken(FromMemory):
        def __call__(self, task: ShardTask, threads: int) -> Iterator[MadeImages]:
            raise UserError(f"shard {task.index} cannot be made")

    pixels = np.zeros((4, 8, 16, 3), np.uint8)
    plan = plan_images(["a", "b", "c", "d"], pixels, make=Broken(pixels, 4), engine=engine)
    with pytest.raises(UserError, match=r"^shard 0 cannot be made$"):
        write_dataset(tmp_path, plan, split="test")


def test_a_cluster_that_is_not_there_is_reported() -> None:
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(UserError, match=r"the Ray cluster 127\.0\.0\.1:1 cannot be used"):
        list(RayEngine("127.0.0.1:1").map(str, [1]))
