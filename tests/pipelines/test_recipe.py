"""The packaged recipe, shrunk by ``--params`` to seconds, from an archive to scores."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from kedro_project import make_project, mlflow_as_before
from small_faces import encode, picture, write_celeba

from deepdepixelate.cli import cli
from deepdepixelate.models.weights import load_weights

pytestmark = pytest.mark.slow

TINY = (
    "ingest.limit_per_split=2,pretrain.updates=2,pretrain.batch_size=2,pretrain.crop_size=32,"
    "pretrain.generator.blocks=1,pretrain.generator.channels=8,train_gan.updates=3,"
    "train_gan.batch_size=2,train_gan.crop_size=32,train_gan.discriminator.channels=4,"
    "train_gan.discriminator_head_start=1,training.batch_norm_updates=1,training.log_every=1,"
    "evaluate.faces_shown=2,evaluate.identity=off"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project in the current folder, with an archive like CelebA's; all is undone afterwards."""
    path = make_project(tmp_path / "project").path
    names = [f"{number:06d}.jpg" for number in range(1, 7)]
    images = {name: encode(picture(seed, 178, 218), "JPEG") for seed, name in enumerate(names)}
    partition = "".join(f"{name} {index // 2}\n" for index, name in enumerate(names))
    write_celeba(path / "data/01_raw/celeba", images, partition)
    monkeypatch.chdir(path)
    with mlflow_as_before(), patch.object(sys, "path", list(sys.path)):
        yield path


def test_the_recipe_trains_and_evaluates_with_its_losses(project: Path) -> None:
    bootstrap_project(project)
    outcome = CliRunner().invoke(cli, ["run", "--config", "conf/recipe.yml", "--params", TINY])
    assert outcome.exit_code == 0, outcome.output

    srgan = load_weights(project / "data/06_models/celeba/srgan.safetensors")
    settings = srgan.provenance["fingerprint"]["settings"]
    assert settings["content"] == "st_lpips"
    assert settings["discriminator"]["kind"] == "unet"
    assert settings["batch_norm"] == "frozen"
    assert (settings["grid_weight"], settings["shift"]) == (0.3, 16)
    header, *rows = (
        (project / "data/08_reporting/celeba/train_gan_history.csv").read_text().splitlines()
    )
    assert len(rows) == 3
    assert {"pixel_loss", "grid_loss", "content_loss", "adversarial_loss"} < set(header.split(","))
    evaluation = json.loads((project / "data/08_reporting/celeba/evaluation.json").read_text())
    assert set(evaluation["sets"]["test"]["models"]) == {"bicubic", "srresnet", "srgan"}
