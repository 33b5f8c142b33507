"""The chain on a few dozen real faces, with the real VGG19 layers for the content loss."""

import json
from pathlib import Path

import pytest
from kedro_project import Project, make_project

from deepdepixelate.models.weights import load_weights

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def test_real_faces_from_the_archive_to_scores(project: Project, shared: Path) -> None:
    weights = shared / "weights/vgg19_conv1_1_to_conv3_1.safetensors"
    outcome = project.kedro_from_scratch(
        "run", "--env", "celeba", "--params",
        f"celeba_dir={shared / 'celeba'},ingest.limit_per_split=8,"
        "pretrain.updates=4,pretrain.batch_size=2,pretrain.generator.blocks=2,"
        "train_gan.updates=2,train_gan.batch_size=2,train_gan.content=vgg22,"
        f"train_gan.vgg_weights={weights},training.batch_norm_updates=1,"
        f"evaluate.benchmarks.set5={shared / 'benchmarks/set5'},"
        "evaluate.faces_shown=1,evaluate.examples_shown=1,evaluate.identity=off",
    )  # fmt: skip
    outcome.assert_success()
    assert "missing are 138,770 of train, 18,367 of val, 17,962 of test" in " ".join(
        outcome.output.split()
    )

    reporting = project.path / "data/08_reporting/celeba"
    report = json.loads((reporting / "ingest_report.json").read_text())
    assert report["images"] == {"train": 8, "val": 8, "test": 8}
    assert report["missing"] == {"train": 162770 - 24000, "val": 18367, "test": 17962}
    assert report["rejected"] == {"train": [], "val": [], "test": []}
    evaluation = json.loads((reporting / "evaluation.json").read_text())
    assert evaluation["sets"]["test"]["images"] == 8
    assert evaluation["sets"]["test"]["models"]["bicubic"]["psnr_y"] == pytest.approx(28, abs=1.5)
    assert "tensors" not in evaluation["provenance"]["weights"]["srgan"]
    set5 = evaluation["sets"]["set5"]
    assert (set5["images"], set5["skipped"]) == (5, [])
    assert set(set5["models"]) == {"bicubic", "srresnet", "srgan"}
    assert round(set5["models"]["bicubic"]["psnr_y"], 2) == 28.43
    assert round(set5["models"]["bicubic"]["ssim_y"], 4) == 0.8113
    assert set5["paper"]["srgan"]["psnr_y"] == 29.40

    recipe = project.kedro(
        "run", "--config", "conf/recipe.yml", "--pipeline", "train_gan", "--params",
        "train_gan.updates=2,train_gan.batch_size=2,train_gan.discriminator_head_start=0,"
        "train_gan.validation_images=2,training.batch_norm_updates=1",
    )  # fmt: skip
    recipe.assert_success()
    trained = load_weights(project.path / "data/06_models/celeba/srgan.safetensors")
    settings = trained.provenance["fingerprint"]["settings"]
    assert (settings["content"], settings["discriminator"]["kind"]) == ("st_lpips", "unet")
    assert (settings["batch_size"], settings["pixel_weight"]) == (2, 1.0)
