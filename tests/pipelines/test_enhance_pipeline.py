"""``deepdepixelate enhance`` and ``kedro run --pipeline enhance`` as processes."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kedro_project import Outcome, make_project, run, run_from_scratch
from PIL import Image

from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import Weights, load_weights, save_weights

pytestmark = pytest.mark.slow

LONG = "x" * 300


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


def enhance(folder: Path, *arguments: str) -> Outcome:
    return run("deepdepixelate", "enhance", *arguments, folder=folder)


def test_command_without_a_project(folder: Path) -> None:
    done = run_from_scratch(
        "deepdepixelate", "enhance", "in", "--model", "mine.safetensors", folder=folder
    )
    assert done.code == 1
    assert "Traceback" not in done.stderr
    assert "1 of 2 photographs could not be enlarged" in done.stderr
    assert "in/text.png: not an image that can be read" in done.stderr
    assert done.stdout.split() == ["enhanced/face-mine-2x.png"]
    with Image.open(folder / "enhanced" / "face-mine-2x.png") as image:
        assert image.size == (24, 16)
    assert sorted(path.name for path in folder.iterdir()) == ["enhanced", "in", "mine.safetensors"]


def test_command_with_weights_that_are_none(folder: Path) -> None:
    done = enhance(folder, "in/face.jpg", "-o", "out2", "--model", "in/text.png")
    assert done.code == 1
    assert "Error: the weights in/text.png are damaged or not safetensors" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "out2").exists()


def test_command_with_options(folder: Path) -> None:
    (folder / "in" / "notes.txt").write_text("no image")
    done = enhance(
        folder, "in/face.jpg", "-o", "out3", "--model", "mine.safetensors",
        "--format", "webp", "--quality", "50", "--strip-metadata",
    )  # fmt: skip
    assert (done.code, done.stdout) == (0, "out3/face-mine-2x.webp\n")
    done = enhance(folder, "in/face.jpg", "-o", "out3", "--model", "mine.safetensors",
                   "--format", "webp")  # fmt: skip
    assert done.code == 0
    assert "1 already there, skipped (--overwrite replaces them)." in done.output
    done = enhance(folder, "in", "-o", "out4", "--model", "mine.safetensors")
    assert done.code == 1
    assert done.stderr.endswith("\nSkipped in folders: 1 .txt.\n")
    (folder / "in" / "notes.txt").unlink()


@pytest.mark.parametrize("arguments", [["enhance", "in/face.jpg", "-o", "out5"], ["export", "o"]])
def test_commands_refuse_weights_that_are_not_finite(folder: Path, arguments: list[str]) -> None:
    weights = load_weights(folder / "mine.safetensors")
    broken = dict(weights.tensors) | {"tail.bias": torch.full((3,), torch.nan)}
    save_weights(folder / "nan.safetensors", replace(weights, tensors=broken))
    done = run("deepdepixelate", *arguments, "--model", "nan.safetensors", folder=folder)
    (folder / "nan.safetensors").unlink()
    assert done.code == 1
    assert "nan.safetensors cannot be used: tail.bias holds NaN" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / arguments[-1]).exists()


@pytest.mark.parametrize("arguments", [["enhance", "in/face.jpg", "-o", LONG], ["export", LONG]])
def test_an_output_whose_name_is_too_long_is_told(folder: Path, arguments: list[str]) -> None:
    done = run("deepdepixelate", *arguments, "--model", "mine.safetensors", folder=folder)
    assert done.code == 1
    assert "Traceback" not in done.stderr
    assert "File name too long" in done.stderr


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
    assert f"Written: {tmp_path / 'out' / 'face-mine-2x.png'}\n" in outcome.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["face-mine-2x.png"]

    assert "MLflow" not in outcome.output  # a user's photographs are private
    if (database := project.path / "mlflow.db").exists():
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)

    again = project.kedro("run", "--pipeline", "enhance", "--params", given)
    again.assert_success()
    assert "1 already there, skipped" in again.output

    given += f",enhance.input={folder / 'in'},enhance.format=jpeg,enhance.strip_metadata=true"
    some = project.kedro("run", "--pipeline", "enhance", "--params", given)
    some.assert_readable_error("1 of 2 photographs", "text.png: not an image")
    assert f"{tmp_path / 'out' / 'face-mine-2x.jpg'}\n" in some.output

    given += ",enhance.quality=101"
    project.kedro("run", "--pipeline", "enhance", "--params", given).assert_readable_error(
        "enhance.quality"
    )
