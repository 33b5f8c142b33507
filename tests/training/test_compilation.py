"""Compiled updates, by the real compiler; on a CPU, so without CUDA graphs."""

import logging
import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from tiny_training import adversarial, assert_equal, pretraining, smooth_images
from torch import Tensor

from deepdepixelate.models.generator import Generator
from deepdepixelate.training.steps import TrainingStep

Batch = tuple[Tensor, Tensor]


def batch(seed: int) -> Batch:
    hr = smooth_images(2, height=16, width=16, seed=seed)
    lr = hr[:, ::4, ::4].copy()
    return torch.from_numpy(lr).permute(0, 3, 1, 2), torch.from_numpy(hr).permute(0, 3, 1, 2)


def losses(step: TrainingStep, updates: int) -> list[float]:
    for optimizer in step.optimizers:
        optimizer.param_groups[0]["lr"] = 1e-3
    made = []
    for seed in range(updates):
        made += [float(loss) for loss in step.update(*batch(seed)).values()]
    return made


@pytest.fixture(scope="module")
def cpp_compiler() -> None:
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl"))):
        pytest.skip("no C++ compiler, which torch.compile needs on a CPU")


@pytest.mark.slow
@pytest.mark.usefixtures("cpp_compiler")
@pytest.mark.parametrize("build", [pretraining, adversarial])
def test_compiled_updates_are_the_eager_ones_to_rounding(
    build: Callable[[], TrainingStep],
) -> None:
    eager, compiled = build(), build()
    before = deepcopy(compiled.state_dict())
    assert compiled.compile(*batch(9))
    assert_equal(compiled.state_dict(), before)  # its trial leaves no trace

    assert losses(compiled, 4) == pytest.approx(losses(eager, 4), rel=1e-3)

    weights = compiled.result.state_dict()
    assert list(weights) == list(eager.result.state_dict())
    for name, expected in eager.result.state_dict().items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("build", [pretraining, adversarial])
def test_without_a_working_compiler_training_is_eager(
    build: Callable[[], TrainingStep],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(network: Any, **_: Any) -> Any:
        def call(images: Tensor) -> Tensor:
            network(images)  # moves batch-norm statistics, as a compiler's own trials may
            raise RuntimeError("no compiler found\nand much more that nobody reads")

        return call

    eager, fallen_back = build(), build()
    monkeypatch.setattr(torch, "compile", broken)
    with caplog.at_level(logging.WARNING):
        assert not fallen_back.compile(*batch(9))

    assert "torch.compile does not work here (no compiler found)" in caplog.text
    assert losses(fallen_back, 3) == losses(eager, 3)
    assert_equal(fallen_back.state_dict(), eager.state_dict())


def test_a_compiler_that_fails_only_on_the_generators_update_is_noticed_before_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The head start has none: the failure would end the run after it."""

    def broken(network: Any, **_: Any) -> Any:
        def call(images: Tensor) -> Tensor:
            if torch.is_grad_enabled() and isinstance(network, Generator):
                raise RuntimeError("no backward kernel")
            result: Tensor = network(images)
            return result

        return call

    eager, fallen_back = (adversarial(discriminator_head_start=10) for _ in range(2))
    monkeypatch.setattr(torch, "compile", broken)
    assert not fallen_back.compile(*batch(9))
    assert losses(fallen_back, 12) == losses(eager, 12)
    assert_equal(fallen_back.state_dict(), eager.state_dict())


def test_each_compiled_update_frees_the_cuda_graph_memory_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marks = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    step = adversarial()
    losses(step, 2)
    assert not marks
    assert step.compile(*batch(9))
    marks.clear()
    losses(step, 3)
    assert len(marks) == 3
