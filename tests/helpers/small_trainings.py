"""Trainings of the sample that take seconds, and the comparison of their weights."""

from pathlib import Path

import numpy as np
import pytest
from finished_project import prepared_project
from kedro_project import Project, copy_of
from safetensors.numpy import load_file

SMALL_TRAINING = (
    "pretrain.updates=60,pretrain.checkpoint_every=10,pretrain.validate_every=30,"
    "pretrain.batch_size=4,pretrain.crop_size=32,pretrain.generator.blocks=1,"
    "pretrain.generator.channels=8,train_gan.updates=10,train_gan.crop_size=32,"
    "train_gan.batch_size=4,train_gan.discriminator.channels=4,train_gan.discriminator.dense=8,"
    "training.log_every=5,training.batch_norm_updates=4,training.precision=fp32"
)

TOLERANCE = 1e-4
"""Of a weight after a training on two processes, against one: sums in another order."""


def trained_on_one_process(factory: pytest.TempPathFactory) -> Project:
    """A project with the ``srresnet`` that trainings on several processes must come to, too."""
    project = prepared_project(factory)
    project.kedro("run", "--pipeline", "pretrain", "--params", SMALL_TRAINING).assert_success()
    return project


def untrained_copy(project: Project, path: Path) -> Project:
    """A project with the data of another one, and without its networks and checkpoints."""
    copy = copy_of(project, path)
    for file in (path / "data/06_models/sample").rglob("*.*"):
        file.unlink()
    return copy


def assert_same_weights(
    first: Project, second: Project, name: str, tolerance: float = TOLERANCE
) -> None:
    for (key, left), right in zip(
        _weights(first, name).items(), _weights(second, name).values(), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance, err_msg=key)


def _weights(project: Project, name: str) -> dict[str, np.ndarray]:
    return dict(load_file(project.path / f"data/06_models/sample/{name}.safetensors"))
