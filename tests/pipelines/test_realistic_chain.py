"""The whole chain on realistic LR."""

import csv
import json
from pathlib import Path

import pytest
from kedro_project import make_project

pytestmark = pytest.mark.slow


def test_trains_on_realistic_images_and_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.kedro(
        "run", "--params",
        "degrade.kind=realistic,degrade.realistic.clean=0,ingest.limit_per_split=4,"
        "pretrain.updates=2,train_gan.updates=2,training.batch_norm_updates=1,"
        "evaluate.faces_shown=1,evaluate.examples_shown=1,evaluate.identity=off",
    ).assert_success()  # fmt: skip

    for split in ("train", "val", "test"):
        lr = project.path / "data/05_model_input/sample/lr" / split
        manifest = json.loads((lr / "manifest.json").read_text())
        with (lr / "degradations.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows] == manifest["names"]
        assert {row["clean"] for row in rows} == {"False"}
        assert manifest["details"]["kind"] == "realistic"
    evaluation = json.loads((project.path / "data/08_reporting/sample/evaluation.json").read_text())
    assert evaluation["protocol"]["degradation"].startswith("test: realistic")
    assert set(evaluation["sets"]["test"]["models"]) == {"bicubic", "srresnet", "srgan"}
