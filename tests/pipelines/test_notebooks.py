"""The notebooks, run as Jupyter runs them: with something to show, and with nothing yet."""

import base64
import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from finished_project import finished_project
from kedro_project import PROJECT, Project
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

NOTEBOOKS = ["01_look_at_the_data.ipynb", "02_look_at_the_results.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_is_kept_without_outputs(name: str) -> None:
    notebook = json.loads((PROJECT / "notebooks" / name).read_text())
    nbformat.validate(notebook)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


# -- executed --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished project, in which a small CelebA was ingested too, a bad face and a twin in it."""
    project, _ = finished_project(tmp_path_factory)
    shutil.copytree(PROJECT / "notebooks", project.path / "notebooks")
    _write_faces(project.path / "data/01_raw/celeba")
    stages = ("--env", "celeba", "--pipelines", "ingest,degrade")
    limits = "ingest.max_rejected_fraction=0.2"
    project.kedro("run", *stages, "--params", limits).assert_success()
    return project


def _write_faces(folder: Path) -> None:
    images = folder / "img_align_celeba"
    images.mkdir(parents=True)
    splits = [0] * 6 + [1, 2]
    for number in range(len(splits)):
        colours = np.random.default_rng(number).integers(0, 256, (11, 9, 3), dtype=np.uint8)
        size = (100, 100) if number == 3 else (178, 218)
        picture = Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)
        picture.save(images / f"{number + 1:06}.jpg", quality=90)
    shutil.copy(images / "000001.jpg", images / "000008.jpg")
    lines = [f"{number + 1:06}.jpg {split}\n" for number, split in enumerate(splits)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))


PLOTLY = "application/vnd.plotly.v1+json"


def execute(project: Project, name: str, environment: str) -> dict[str, list[Any]]:
    """Run a notebook as it would be with this ENVIRONMENT; the outputs of its cells by their id."""
    notebook = nbformat.read(project.path / "notebooks" / name, as_version=4)
    setup = next(cell for cell in notebook.cells if cell.id == "setup")
    assert 'ENVIRONMENT = "base"' in setup.source
    setup.source = setup.source.replace('"base"', f'"{environment}"', 1)
    folder = {"metadata": {"path": str(project.path / "notebooks")}}
    client = NotebookClient(notebook, timeout=120, resources=folder)
    client.execute()
    return {cell.id: cell.get("outputs", []) for cell in notebook.cells}


def figures(outputs: list[Any]) -> list[Image.Image]:
    encoded = [output["data"]["image/png"] for output in outputs if "image/png" in _data(output)]
    return [Image.open(BytesIO(base64.b64decode(image))) for image in encoded]


def text(outputs: list[Any]) -> str:
    """What a person reads: printed text and tables."""
    return " ".join(
        _data(output).get("text/html", "") + output.get("text", "") for output in outputs
    )


def _data(output: Any) -> dict[str, str]:
    return dict(output.get("data", {}))


@pytest.mark.slow
def test_the_data_of_celeba_with_what_was_left_out(project: Project) -> None:
    outputs = execute(project, NOTEBOOKS[0], "celeba")
    assert text(outputs["setup"]) == ""
    assert "176 x 216" in text(outputs["shards"])
    (pairs,) = figures(outputs["pairs"])
    assert pairs.width > pairs.height > 300
    assert "1 images are in more than one split" in text(outputs["left-out"])
    assert "000004.jpg" in text(outputs["rejected"])
    assert "100x100 pixels" in text(outputs["rejected"])
    (twins,) = figures(outputs["duplicates"])
    assert twins.width > 200


@pytest.mark.slow
def test_the_results_of_the_sample(project: Project) -> None:
    outputs = execute(project, NOTEBOOKS[1], "base")
    assert text(outputs["setup"]) == ""
    evaluation = json.loads((project.path / "data/08_reporting/sample/evaluation.json").read_text())
    srgan = evaluation["sets"]["test"]["models"]["srgan"]
    assert f"{srgan['psnr_y']:.3f}" in text(outputs["evaluation"])
    curves = [output for output in outputs["curves"] if PLOTLY in _data(output)]
    assert len(curves) == 2
    (faces,) = figures(outputs["zoom"])
    assert min(faces.size) > 300
    assert f"{srgan['psnr_y']:.2f}" in text(outputs["runs"])
    assert "FINISHED" in text(outputs["runs"])
    assert not (project.path / "notebooks" / "mlflow.db").exists()


@pytest.mark.slow
def test_reports_what_to_run_if_there_is_nothing_to_show(project: Project) -> None:
    with pytest.raises(CellExecutionError) as stopped:
        execute(project, NOTEBOOKS[1], "celeba")
    assert stopped.value.ename == "UserError"
    assert (
        stopped.value.evalue == "evaluation does not exist yet; run first: kedro run --env celeba"
    )
