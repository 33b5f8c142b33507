"""The whole chain on realistic LR and on crops of faces of several sizes."""

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kedro_project import make_project

from deepdepixelate.data.resize import KERNEL
from deepdepixelate.models.weights import load_weights

pytestmark = pytest.mark.slow


def test_trains_on_realistic_crops_of_several_sizes_and_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.kedro(
        "run", "--params",
        "degrade.kind=realistic,degrade.realistic.clean=0,ingest.limit_per_split=4,"
        "ingest.training_crops.side=104,ingest.training_crops.smallest=0.6,"
        "ingest.training_crops.unchanged=0.5,"
        "pretrain.updates=2,train_gan.updates=2,training.batch_norm_updates=1,"
        "evaluate.faces_shown=1,evaluate.examples_shown=1,evaluate.identity=off,"
        "evaluate.degraded_sets.jpeg_30.jpeg_quality=30,evaluate.degraded_images=2",
    ).assert_success()  # fmt: skip

    for split in ("train", "val", "test"):
        lr = project.path / "data/05_model_input/sample/lr" / split
        manifest = json.loads((lr / "manifest.json").read_text())
        with (lr / "degradations.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows] == manifest["names"]
        assert {row["clean"] for row in rows} == {"False"}
        assert manifest["details"]["kind"] == "realistic"
        assert manifest["shape"] == ([26, 26, 3] if split == "train" else [54, 44, 3])
    for name in ("srresnet", "srgan"):
        weights = load_weights(project.path / f"data/06_models/sample/{name}.safetensors")
        assert weights.provenance["degrade.kind"] == "realistic"
        crops = {"side": 104, "smallest": 0.6, "unchanged": 0.5}
        assert weights.provenance["ingest.training_crops"] == crops
    evaluation = json.loads((project.path / "data/08_reporting/sample/evaluation.json").read_text())
    protocol, sets = evaluation["protocol"], evaluation["sets"]
    assert protocol["degradation"].startswith("test: realistic")
    assert protocol["degradation"].endswith(f"degraded sets: {KERNEL}")
    assert protocol["degraded_sets"]["jpeg_30"]["degradation"] == "bicubic; JPEG quality 30, 4:2:0"
    assert protocol["degraded_sets"]["jpeg_30"]["images"] == "2 of 4, spread evenly"
    assert {name: of_set["images"] for name, of_set in sets.items()} == {"test": 4, "jpeg_30": 2}
    with closing(sqlite3.connect(project.path / "mlflow.db")) as database:
        logged = dict(database.execute("SELECT key, value FROM latest_metrics"))
    for models in (of_set["models"] for of_set in sets.values()):
        assert list(models) == ["bicubic", "srresnet", "srgan"]
    for model, figures in sets["jpeg_30"]["models"].items():
        for metric in ("psnr_y", "ssim_y", "high_frequency_ratio", "st_lpips"):
            assert logged[f"jpeg_30.{model}.{metric}"] == figures[metric]
