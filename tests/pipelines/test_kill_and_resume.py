"""A training that is killed and run again ends where an undisturbed one ends, bit for bit."""

import io
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from finished_project import prepared_project
from kedro_project import Outcome, Project, make_project
from safetensors.numpy import load_file

from deepdepixelate.training.checkpoints import CheckpointStore
from deepdepixelate.training.crops import CropSampler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL here"),
]

# Checkpoints lie between the points of the curves: a mean goes on as well.
SMALL = (
    "training.log_every=5,training.batch_norm_updates=2,"
    "pretrain.updates=40,pretrain.checkpoint_every=6,pretrain.validate_every=20,"
    "pretrain.batch_size=2,pretrain.crop_size=32,"
    "pretrain.generator.blocks=1,pretrain.generator.channels=8,"
    "train_gan.updates=20,train_gan.checkpoint_every=4,train_gan.validate_every=10,"
    "train_gan.batch_size=2,train_gan.crop_size=32,"
    "train_gan.discriminator.channels=4,train_gan.discriminator.dense=8"
)
MODELS = Path("data/06_models/sample")
REPORTING = Path("data/08_reporting/sample")


@dataclass(frozen=True)
class Stage:
    """A training, by its results; ``logged`` are the points of its curves with SMALL."""

    name: str
    weights: tuple[str, ...]
    logged: tuple[int, ...]

    @property
    def command(self) -> tuple[str, ...]:
        return ("run", "--pipeline", self.name, "--params", SMALL)


PRETRAIN = Stage("pretrain", ("srresnet",), (5, 10, 15, 20, 25, 30, 35, 40))
TRAIN_GAN = Stage("train_gan", ("srgan", "discriminator"), (5, 10, 15, 20))


@dataclass(frozen=True)
class Moment:
    """When a process kills itself.

    Attributes:
        prepare: makes the process do so; it is called there with ``update``.
        update: the update in question.
        goes_on_after: the last update whose checkpoint is complete at that moment.
        temporary: what is to be found of the checkpoint in writing, if one is.
    """

    prepare: Callable[[int], None]
    update: int
    goes_on_after: int
    temporary: str | None = None


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_when_crops_are_drawn(doomed: int) -> None:
    original = CropSampler.batch

    def batch(sampler: CropSampler, update: int) -> Any:
        if update == doomed:
            die()
        return original(sampler, update)

    patch.object(CropSampler, "batch", batch).start()


def die_when_a_checkpoint_is_half_written(doomed: int) -> None:
    original = torch.save

    def save(content: Any, file: Any, **options: Any) -> None:
        if content.get("update") == doomed:
            whole = io.BytesIO()
            original(content, whole, **options)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            die()
        original(content, file, **options)

    patch.object(torch, "save", save).start()


def die_when_a_checkpoint_has_no_name_yet(doomed: int) -> None:
    original_save, original_fsync = torch.save, os.fsync
    saved = []

    def save(content: Any, file: Any, **options: Any) -> None:
        original_save(content, file, **options)
        saved.append(content.get("update"))

    def fsync(descriptor: int) -> None:
        original_fsync(descriptor)
        if doomed in saved:
            die()

    patch.object(torch, "save", save).start()
    patch.object(os, "fsync", fsync).start()


def die_when_a_checkpoint_is_complete(doomed: int) -> None:
    original = CheckpointStore.save

    def save(store: CheckpointStore, checkpoint: Any) -> Path:
        path = original(store, checkpoint)
        if checkpoint.update == doomed:
            die()
        return path

    patch.object(CheckpointStore, "save", save).start()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which both trainings ran to their end."""
    project = prepared_project(tmp_path_factory)
    outcome = project.kedro("run", "--pipelines", "pretrain,train_gan", "--params", SMALL)
    outcome.assert_success()
    for stage in (PRETRAIN, TRAIN_GAN):
        assert "resumes" not in outcome.output
        assert updates_of(history(project, stage)) == stage.logged
    return project


@pytest.mark.parametrize(
    ("stage", "moment"),
    [
        pytest.param(PRETRAIN, Moment(die_when_crops_are_drawn, 22, 18), id="pretrain-between"),
        pytest.param(
            PRETRAIN,
            Moment(die_when_a_checkpoint_is_half_written, 24, 18, "half"),
            id="pretrain-half_written",
        ),
        pytest.param(
            PRETRAIN, Moment(die_when_a_checkpoint_is_complete, 24, 24), id="pretrain-after"
        ),
        pytest.param(
            TRAIN_GAN,
            Moment(die_when_a_checkpoint_has_no_name_yet, 12, 8, "whole"),
            id="train_gan-unnamed",
        ),
    ],
)
def test_a_killed_training_goes_on_to_the_same_weights(
    undisturbed: Project, tmp_path: Path, stage: Stage, moment: Moment
) -> None:
    project = project_before(stage, undisturbed, tmp_path / "project")

    killed = project.kedro(*stage.command, before=partial(moment.prepare, moment.update))
    assert killed.code == -signal.SIGKILL, killed.output
    assert_nothing_looks_finished(project, stage)
    assert_checkpoints_are_whole(project, stage, moment)

    resumed = project.kedro(*stage.command)
    resumed.assert_success()
    assert f"{stage.name} resumes after update {moment.goes_on_after} " in one_line(resumed)
    assert_same_results(project, undisturbed, stage)

    before = checkpoints_of(project, stage)
    again = project.kedro(*stage.command)
    again.assert_success()
    assert "is reused" in one_line(again)
    assert "resumes" not in one_line(again)
    assert checkpoints_of(project, stage) == before
    assert_same_results(project, undisturbed, stage)


def project_before(stage: Stage, finished: Project, path: Path) -> Project:
    """A project that has what a stage reads, and nothing that it writes."""
    project = make_project(path)
    pixels = "data/05_model_input"
    shutil.copytree(finished.path / pixels, project.path / pixels)
    shutil.copy(finished.path / "mlflow.db", project.path)  # a new one takes a second to set up
    if stage is TRAIN_GAN:
        (project.path / MODELS).mkdir(parents=True)
        name = MODELS / "srresnet.safetensors"
        shutil.copy(finished.path / name, project.path / name)
    return project


def one_line(outcome: Outcome) -> str:
    return " ".join(outcome.output.split())


def history(project: Project, stage: Stage) -> pd.DataFrame:
    """The curves as they are written, every digit."""
    path = project.path / REPORTING / f"{stage.name}_history.csv"
    return pd.read_csv(path, dtype=str)


def updates_of(curves: pd.DataFrame) -> tuple[int, ...]:
    return tuple(int(update) for update in curves["update"])


def checkpoint_folder(project: Project, stage: Stage) -> Path:
    """The folder of the only training of its kind."""
    (folder,) = (project.path / MODELS / "checkpoints" / stage.name).iterdir()
    return folder


def checkpoints_of(project: Project, stage: Stage) -> dict[str, int]:
    """Names and times of change of the named checkpoints."""
    paths = checkpoint_folder(project, stage).glob("*.pt")
    return {path.name: path.stat().st_mtime_ns for path in paths}


def assert_nothing_looks_finished(project: Project, stage: Stage) -> None:
    for name in stage.weights:
        assert not (project.path / MODELS / f"{name}.safetensors").exists()
    assert not (project.path / REPORTING / f"{stage.name}_history.csv").exists()


def assert_checkpoints_are_whole(project: Project, stage: Stage, moment: Moment) -> None:
    """What has a checkpoint's name can be read; what is in writing has none."""
    folder = checkpoint_folder(project, stage)
    updates = [
        torch.load(path, weights_only=True)["update"] for path in sorted(folder.glob("update-*.pt"))
    ]
    assert updates
    assert updates[-1] == moment.goes_on_after

    temporaries = list(folder.glob(".*.tmp"))
    if moment.temporary is None:
        assert temporaries == []
        return
    (temporary,) = temporaries
    assert temporary.name.startswith(".")
    if moment.temporary == "whole":
        assert torch.load(temporary, weights_only=True)["update"] == moment.update
    else:
        assert temporary.stat().st_size > 0
        with pytest.raises(RuntimeError):
            torch.load(temporary, weights_only=True)


def assert_same_results(project: Project, undisturbed: Project, stage: Stage) -> None:
    """Equal tensors, bit for bit, and equal curves but for the speed."""
    for name in stage.weights:
        file = MODELS / f"{name}.safetensors"
        tensors, expected = load_file(project.path / file), load_file(undisturbed.path / file)
        assert tensors.keys() == expected.keys()
        for key, tensor in tensors.items():
            assert tensor.dtype == expected[key].dtype
            assert tensor.shape == expected[key].shape
            assert tensor.tobytes() == expected[key].tobytes(), (name, key)
            assert np.isfinite(tensor).all()

    curves = history(project, stage)
    assert updates_of(curves) == stage.logged
    pd.testing.assert_frame_equal(
        curves.drop(columns="crops_per_second"),
        history(undisturbed, stage).drop(columns="crops_per_second"),
    )
