import fcntl
import shutil

import pytest
from kedro_project import Project, make_project

TINY = (
    "ingest.limit_per_split=8,pretrain.updates=4,pretrain.validate_every=2,"
    "pretrain.validation_images=2,train_gan.updates=4,train_gan.validate_every=2,"
    "train_gan.validation_images=2,training.log_every=1,training.batch_norm_updates=1,"
    "evaluate.faces_shown=4"
)


def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the whole chain ran: a copy of the one run of all pytest's processes."""
    folder = tmp_path_factory.getbasetemp()
    if folder.name.startswith("popen-"):  # of one of pytest-xdist's workers
        folder = folder.parent
    original = folder / "finished_project"
    with (folder / "finished_project.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (original / "data/08_reporting/sample/evaluation.json").exists():
            shutil.rmtree(original, ignore_errors=True)
            outcome = make_project(original).kedro("run", "--params", TINY, OMP_NUM_THREADS="1")
            outcome.assert_success()
    copy = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(original, copy)
    return Project(copy)
