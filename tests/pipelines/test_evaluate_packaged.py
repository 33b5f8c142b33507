"""``kedro run --pipeline evaluate_packaged`` where nothing has been trained."""

import json

import pytest
from kedro_project import make_project

from deepdepixelate.models.pretrained import find_generator

pytestmark = pytest.mark.slow


def test_scores_the_generators_in_the_box(tmp_path_factory: pytest.TempPathFactory) -> None:
    project = make_project(tmp_path_factory.mktemp("packaged") / "project")
    few = "ingest.limit_per_split=2"
    project.kedro("run", "--pipelines", "ingest,degrade", "--params", few).assert_success()
    project.kedro("run", "--pipeline", "evaluate").assert_readable_error("srgan does not exist")

    shown = "evaluate.faces_shown=1,evaluate.examples_shown=1,evaluate.identity=off"
    plain = project.kedro_from_scratch("run", "--pipeline", "evaluate_packaged", "--params", shown)
    plain.assert_success()
    reporting = project.path / "data/08_reporting/sample"
    assert {path.name for path in reporting.iterdir()} == {"ingest_report.json", "packaged"}
    assert {path.name for path in (reporting / "packaged").iterdir()} == {
        "comparison.png", "evaluation.json", "report.html", "scores.csv", "spectra.csv",
    }  # fmt: skip
    assert "Report: data/08_reporting/sample/packaged/report.html" in plain.stdout.splitlines()
    report = reporting / "packaged/evaluation.json"
    evaluation = json.loads(report.read_text())
    for name in ("srgan", "srresnet", "photo"):
        digest = evaluation["provenance"]["weights"][name]["digest"]
        assert digest == find_generator(name).digest
    figures = evaluation["sets"]["test"]["models"]
    assert list(figures) == ["bicubic", "srresnet", "srgan", "photo"]
    assert figures["srresnet"]["psnr_y"] > figures["bicubic"]["psnr_y"] + 1
    assert not (project.path / "data/06_models/sample/srresnet.safetensors").exists()

    sets = "evaluate.degraded_images=1"
    table = project.kedro(
        "run", "--pipeline", "evaluate_packaged", "--config", "conf/degraded_sets.yml",
        "--params", f"{shown},{sets}",
    )  # fmt: skip
    table.assert_success()
    assert "degraded sets: 1 images each" in table.stdout
    degraded = json.loads(report.read_text())
    assert degraded["sets"]["test"] == evaluation["sets"]["test"]
    assert list(degraded["sets"]) == ["test", *degraded["protocol"]["degraded_sets"]]
    clean, blurred = degraded["sets"]["clean"]["models"], degraded["sets"]["blur_2"]["models"]
    assert clean["bicubic"].keys() == figures["bicubic"].keys()
    assert clean["srgan"]["st_lpips"] + 0.1 < blurred["srgan"]["st_lpips"]
    assert "degraded_sets" not in evaluation["protocol"]

    ensemble = f"{shown},evaluate.self_ensemble=true"
    project.kedro("run", "--pipeline", "evaluate_packaged", "--params", ensemble).assert_success()
    again = json.loads(report.read_text())
    assert again["protocol"]["self_ensemble"] == "mean over the image and its mirror image"
    other = again["sets"]["test"]["models"]
    assert other["bicubic"] == figures["bicubic"]
    assert 0 < abs(other["srresnet"]["psnr_y"] - figures["srresnet"]["psnr_y"]) < 0.3

    shard = project.path / "data/05_model_input/sample/lr/test/shard-00000.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    damaged = project.kedro("run", "--pipeline", "evaluate_packaged", "--params", shown)
    damaged.assert_readable_error("lr/test/shard-00000.npy is damaged")
