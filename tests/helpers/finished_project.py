"""Projects whose first stages, or whole chain, ran once for all tests of all workers."""

import shutil
from collections.abc import Callable

import pytest
from filelock import FileLock
from kedro_project import Outcome, Project, copy_of, make_project

IMAGES = 12
"""Images in each split of both projects."""

UPDATES = {"pretrain": 30, "train_gan": 6}
SMALL = (
    f"ingest.limit_per_split={IMAGES},training.log_every=10,training.batch_norm_updates=2,"
    f"pretrain.updates={UPDATES['pretrain']},pretrain.validate_every=20,"
    f"pretrain.checkpoint_every=20,train_gan.updates={UPDATES['train_gan']}"
)


def prepared_project(factory: pytest.TempPathFactory) -> Project:
    """A project that has HR and LR images, and a record of how it got them."""
    arguments = ("--pipelines", "ingest,degrade", "--params", f"ingest.limit_per_split={IMAGES}")
    project, _ = _copy_of_the_only("prepared", lambda new: new.kedro("run", *arguments), factory)
    return project


def finished_project(factory: pytest.TempPathFactory) -> tuple[Project, Outcome]:
    """A project in which the whole chain ran, and what a shell saw of it."""
    return _copy_of_the_only(
        "finished", lambda new: new.kedro_from_scratch("run", "--params", SMALL), factory
    )


def _copy_of_the_only(
    name: str, make: Callable[[Project], Outcome], factory: pytest.TempPathFactory
) -> tuple[Project, Outcome]:
    folder = factory.getbasetemp()
    if folder.name.startswith("popen-"):  # of one of pytest-xdist's workers
        folder = folder.parent
    original, stdout, stderr = (folder / f"{name}{end}" for end in ("", ".stdout", ".stderr"))
    with FileLock(folder / f"{name}.lock"):
        if not stderr.exists():
            shutil.rmtree(original, ignore_errors=True)
            outcome = make(make_project(original))
            outcome.assert_success()
            stdout.write_text(outcome.stdout)
            stderr.write_text(outcome.stderr)
    copy = copy_of(Project(original), factory.mktemp(name) / "project")
    return copy, Outcome(0, stdout.read_text(), stderr.read_text())
