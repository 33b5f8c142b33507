"""The chain on a folder of photographs of many sizes and formats."""

import json
from pathlib import Path

import numpy as np
import pytest
from kedro_project import make_project
from PIL import Image
from small_faces import picture

pytestmark = pytest.mark.slow


def write_photographs(folder: Path) -> None:
    folder.mkdir()
    forms = [("RGB", "jpg"), ("L", "png"), ("P", "png"), ("RGBA", "webp"), ("RGB", "bmp")]
    for number in range(30):
        (folder / f"person {number % 15}").mkdir(exist_ok=True)
        mode, suffix = forms[number % len(forms)]
        image = Image.fromarray(picture(number, 180 + 9 * number, 480 - 8 * number))
        image.convert(mode).save(folder / f"person {number % 15}" / f"{number}.{suffix}")
    Image.fromarray(np.zeros((50, 400, 3), np.uint8)).save(folder / "person 3/small.png")
    (folder / "person 3/notes.txt").write_text("not an image")
    (folder / "person 3/video.jpg").write_bytes(b"not an image")


def test_own_faces_from_a_folder_to_scores(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    write_photographs(tmp_path / "faces")
    outcome = project.kedro(
        "run", "--env", "own", "--params",
        f"faces_dir={tmp_path / 'faces'},ingest.split.by=folder,"
        "ingest.split.val=0.2,ingest.split.test=0.2,"
        "pretrain.updates=2,pretrain.batch_size=2,train_gan.updates=2,train_gan.batch_size=2,"
        "training.batch_norm_updates=1,evaluate.faces_shown=1,evaluate.examples_shown=1,"
        "evaluate.identity=off",
    )  # fmt: skip
    outcome.assert_success()
    report = json.loads((project.path / "data/08_reporting/own/ingest_report.json").read_text())
    assert sum(report["images"].values()) == 30
    rejected = [each for split in report["rejected"].values() for each in split]
    assert sorted((each["name"], each["reason"]) for each in rejected) == [
        ("person 3/small.png", "400x50 pixels, smaller than the crop of 176x216"),
        ("person 3/video.jpg", "not an image that can be read"),
    ]
    assert [each["name"] for each in report["source"]["left_out"]] == ["person 3/notes.txt"]
    evaluation = json.loads((project.path / "data/08_reporting/own/evaluation.json").read_text())
    assert evaluation["sets"]["test"]["images"] == report["images"]["test"]
    assert (project.path / "data/06_models/own/srgan.safetensors").is_file()


def test_a_folder_that_is_not_there_is_reported_before_the_run(tmp_path: Path) -> None:
    outcome = make_project(tmp_path / "project").kedro("run", "--env", "own")
    outcome.assert_readable_error("data/01_raw/own is not a folder", "faces_dir=DIR")
