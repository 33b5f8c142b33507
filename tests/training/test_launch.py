"""Several processes of this machine, started for real."""

import os
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny_training import training_parameters
from torch import Tensor

from deepdepixelate.errors import UserError
from deepdepixelate.training import launch
from deepdepixelate.training.distributed import Ranks
from deepdepixelate.training.losses import feature_loss, grid_loss, negative_psnr
from deepdepixelate.training.trainer import UNTRACKED, Log, TrackedRun

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]


def ignore(step: int, metrics: Mapping[str, float]) -> None:
    pass


def record() -> AbstractContextManager[tuple[Log, TrackedRun]]:
    return nullcontext((ignore, UNTRACKED))


def on_two_processes(job: "Losses | Failing", restarts: int = 0) -> list[float]:
    settings = training_parameters(devices=2, max_restarts=restarts)
    return launch.run(launch.Job(job, record, True), settings, ignore, UNTRACKED)


def losses(sr: Tensor, hr: Tensor, ranks: Ranks) -> list[Tensor]:
    """Each of ``losses``, of images whose features are themselves, at five brightnesses."""
    maps = [[images * factor + 1 for factor in range(1, 6)] for images in (sr, hr)]
    return [feature_loss(maps[0], maps[1], ranks.mean), grid_loss(sr, hr, 4), negative_psnr(sr, hr)]


def of_batch(ranks: Ranks) -> list[Tensor]:
    random = torch.Generator().manual_seed(3)
    hr, noise = torch.rand(2, 4, 3, 16, 16, generator=random)
    hr = hr * torch.tensor([0.1, 0.2, 1.0, 0.5]).view(4, 1, 1, 1)  # so that the shares differ
    share = ranks.slice_of(4)
    return losses((hr + 0.1 * noise)[share], hr[share], ranks)


@dataclass(frozen=True)
class Losses:
    """Leaves the means over the processes of their losses in a file, which is read afterwards."""

    place: Path

    def __call__(self, log: Log, run: TrackedRun, ranks: Ranks) -> list[float]:
        if ranks.trained_by is None:
            means = [ranks.mean(loss) for loss in of_batch(ranks)]
            if ranks.is_writer:
                torch.save(torch.stack(means), self.place)
            return []
        made: list[float] = torch.load(self.place).tolist()
        return made


@dataclass(frozen=True)
class Failing:
    """Raises in one process, while the other continues to a collective, where it waits."""

    rank: int
    error: Exception

    def __call__(self, log: Log, run: TrackedRun, ranks: Ranks) -> list[float]:
        with ranks.agreeing():
            if ranks.rank == self.rank:
                raise self.error
        return [float(ranks.mean(torch.ones(1)))]


NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def test_losses_average_over_the_processes_to_those_of_one_and_signals_are_left_alone(
    tmp_path: Path,
) -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    made = on_two_processes(Losses(tmp_path / "losses.pt"))
    assert made == pytest.approx([float(loss) for loss in of_batch(Ranks())], rel=1e-5)
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_the_user_in_one_process_is_reported_at_once(
    rank: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"^the disk of this host is full$"):
        on_two_processes(Failing(rank, UserError("the disk of this host is full")), restarts=3)
    assert "Traceback" not in capfd.readouterr().err


def test_a_bug_in_one_process_is_named_and_not_what_it_does_to_the_others() -> None:
    with pytest.raises(UserError, match="KeyError"):
        on_two_processes(Failing(0, KeyError("no such name")))
