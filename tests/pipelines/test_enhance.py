"""``deepdepixelate enhance`` and ``kedro run --pipeline enhance`` as a person calls them."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from kedro_project import make_project
from PIL import Image

from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import Weights, save_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is no project, with weights, a photograph and a file that is none."""
    folder = tmp_path_factory.mktemp("somewhere")
    torch.manual_seed(0)
    architecture = GeneratorArchitecture(blocks=1, channels=4, scale=2)
    tensors = Generator(architecture).state_dict()
    weights = Weights("generator", architecture.model_dump(), tensors, {})
    save_weights(folder / "mine.safetensors", weights)
    (folder / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "in" / "face.jpg")
    (folder / "in" / "text.png").write_text("no image")
    return folder


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deepdepixelate", "enhance", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_command_without_a_project(folder: Path) -> None:
    done = command(folder, "in", "-o", "out", "--model", "mine.safetensors")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "1 of 2 photographs could not be enlarged" in done.stderr
    assert "in/text.png: not an image that can be read" in done.stderr
    assert done.stdout.split() == ["out/face-mine-2x.png"]
    with Image.open(folder / "out" / "face-mine-2x.png") as image:
        assert image.size == (24, 16)
    assert sorted(path.name for path in folder.iterdir()) == ["in", "mine.safetensors", "out"]


def test_command_with_weights_that_are_none(folder: Path) -> None:
    done = command(folder, "in/face.jpg", "-o", "out2", "--model", "in/text.png")
    assert done.returncode == 1
    assert "Error: the weights in/text.png are damaged or no safetensors" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "out2").exists()


def test_pipeline(folder: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    parameters = {
        "enhance.input": folder / "in" / "face.jpg",
        "enhance.output": tmp_path / "out",
        "enhance.model": folder / "mine.safetensors",
    }
    given = ",".join(f"{name}={value}" for name, value in parameters.items())
    outcome = project.kedro("run", "--pipeline", "enhance", "--params", given)
    outcome.assert_success()
    assert f"Written:\n  {tmp_path / 'out' / 'face-mine-2x.png'}\n" in outcome.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["face-mine-2x.png"]

    assert "Mlflow run" not in outcome.output  # a record of a person's photographs
    if (database := project.path / "mlflow.db").exists():
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)

    again = project.kedro("run", "--pipeline", "enhance", "--params", given)
    again.assert_readable_error("1 of 1 photographs", "is there already")
