import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from tiny_training import (
    CPU,
    Payload,
    adversarial,
    assert_equal,
    pretraining,
    smooth_images,
    write_pairs,
)
from torch import Tensor

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError
from deepdepixelate.models.generator import Generator, from_pixels
from deepdepixelate.parameters import LearningRate
from deepdepixelate.training.checkpoints import CheckpointStore
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.loop import Plan, train
from deepdepixelate.training.objectives import Objective
from deepdepixelate.training.rates import learning_rate_at
from deepdepixelate.training.resuming import resume
from deepdepixelate.training.validation import Validator

Rows = list[dict[str, float]]

PLAN = Plan(
    name="pretrain",
    updates=12,
    learning_rate=LearningRate(initial=1e-2, schedule="cosine"),
    log_every=4,
    validate_every=5,
    checkpoint_every=3,
    batch_norm_updates=2,
)
NOTED = [4, 5, 8, 10, 12]
"""The updates at which PLAN logs, validates or ends."""


class InterruptionError(Exception):
    """A power failure, a Ctrl-C, a killed job."""


class Observed:
    """An objective that counts its steps, and does something of the test's before each."""

    def __init__(self, objective: Objective, before: Callable[[int], None] | None = None) -> None:
        self.inner = objective
        self.steps = 0
        self.rates: list[float] = []
        self._before = before

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        return self.inner.optimizers

    @property
    def begins(self) -> tuple[int, ...]:
        return self.inner.begins

    @property
    def result(self) -> Generator:
        return self.inner.result

    def step(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        if self._before is not None:
            self._before(self.steps)
        self.steps += 1
        self.rates.append(self.optimizers[0].param_groups[0]["lr"])
        return self.inner.step(lr, hr)

    def state(self) -> dict[str, Any]:
        return self.inner.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.inner.restore(state)


class Scripted(Observed):
    """Reports losses of the test's choosing."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(pretraining())
        self._losses = losses

    def step(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        super().step(lr, hr)
        return {"loss": torch.tensor(self._losses[self.steps - 1])}


@dataclass
class Journal:
    """What reached ``log``; breaks off at an update if told so."""

    break_at: int | None = None
    rows: dict[int, Mapping[str, float]] = field(default_factory=dict)

    def __call__(self, update: int, measured: Mapping[str, float]) -> None:
        if update == self.break_at:
            raise InterruptionError
        self.rows[update] = dict(measured)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ImagePairs:
    return write_pairs(tmp_path_factory.mktemp("loop"), smooth_images(6))


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path, {"training": "of this test"})


def run(
    objective: Objective,
    pairs: ImagePairs,
    store: CheckpointStore,
    *,
    plan: Plan = PLAN,
    log: Journal | None = None,
    validate: Callable[[Generator], Mapping[str, float]] | None = None,
) -> Rows:
    crops = CropSampler(pairs, crop_size=16, batch_size=2, seed=0, device=CPU)
    return train(
        objective,
        crops,
        plan,
        resume(plan.name, plan.updates, objective, store),
        validate=validate or Validator(pairs, 2, CPU),
        checkpoints=store,
        log=log or Journal(),
    )


def without_speed(rows: Rows) -> Rows:
    return [{key: row[key] for key in row if key != "crops_per_second"} for row in rows]


@pytest.fixture(scope="module", params=[pretraining, adversarial], ids=["pretrain", "gan"])
def uninterrupted(
    request: pytest.FixtureRequest, pairs: ImagePairs, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Callable[[], Objective], Rows, Objective]:
    """How to build an objective, and what becomes of it in one go."""
    build: Callable[[], Objective] = request.param
    objective = build()
    store = CheckpointStore(tmp_path_factory.mktemp("uninterrupted"), {})
    return build, run(objective, pairs, store), objective


class TestLearningRate:
    def test_cosine_falls_from_the_initial_rate_towards_zero(self) -> None:
        cosine = LearningRate(initial=2e-3, schedule="cosine")
        rates = [learning_rate_at(update, 1000, cosine) for update in range(1000)]

        assert rates[0] == 2e-3
        assert rates[500] == pytest.approx(1e-3)
        assert rates[250] == pytest.approx(2e-3 * (1 + 0.5**0.5) / 2)
        assert 0.0 < rates[999] < 1e-8
        assert rates == sorted(rates, reverse=True)

    def test_steps_multiply_at_fractions_of_the_updates(self) -> None:
        steps = LearningRate(initial=1e-3, schedule="steps", decay_at=(0.5, 0.9), decay_factor=0.1)
        rates = {update: learning_rate_at(update, 10, steps) for update in range(10)}

        expected = {**dict.fromkeys(range(5), 1e-3), **dict.fromkeys(range(5, 9), 1e-4), 9: 1e-5}
        assert rates == pytest.approx(expected)

    def test_steps_may_be_named_in_any_order(self) -> None:
        turned = LearningRate(initial=1.0, schedule="steps", decay_at=(0.9, 0.5), decay_factor=0.5)

        assert [learning_rate_at(update, 10, turned) for update in (4, 5, 9)] == [1.0, 0.5, 0.25]

    @pytest.mark.parametrize("schedule", ["constant", "cosine"])
    def test_warming_up_rises_to_the_schedule(
        self, schedule: Literal["constant", "cosine"]
    ) -> None:
        cold = LearningRate(initial=1e-3, schedule=schedule)
        warmed = cold.model_copy(update={"warm_up": 4})
        shares = [
            learning_rate_at(update, 100, warmed) / learning_rate_at(update, 100, cold)
            for update in range(7)
        ]
        assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])

    def test_warming_up_begins_with_the_first_update_of_a_network(self) -> None:
        warmed = LearningRate(initial=1e-3, schedule="constant", warm_up=3)
        rates = [learning_rate_at(update, 100, warmed, begin=5) for update in range(10)]
        assert rates == pytest.approx([0] * 5 + [0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])

    def test_each_network_warms_up_by_itself(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        rate = LearningRate(initial=1e-3, schedule="constant", warm_up=3)
        objective = adversarial(head_start=4)
        rates: list[list[float]] = []

        def note(steps: int) -> None:
            rates.append([each.param_groups[0]["lr"] for each in objective.optimizers])

        plan = replace(PLAN, learning_rate=rate, log_every=1)
        history = run(Observed(objective, note), pairs, store, plan=plan)
        generator, discriminator = zip(*rates, strict=True)
        assert generator[3:9] == pytest.approx((0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3))
        assert discriminator[:5] == pytest.approx((0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3))
        assert tuple(row["learning_rate"] for row in history) == generator

    def test_constant_stays(self) -> None:
        constant = LearningRate(initial=3e-4, schedule="constant", decay_at=(0.1,))

        assert {learning_rate_at(update, 7, constant) for update in range(7)} == {3e-4}


VALIDATION = {"val.psnr_y", "val.ssim_y", "val.st_lpips", "val.high_frequency_ratio"}


class TestCurves:
    def test_rows_come_when_the_plan_says(self, pairs: ImagePairs, store: CheckpointStore) -> None:
        journal = Journal()
        history = run(pretraining(), pairs, store, log=journal)

        assert [row["update"] for row in history] == NOTED
        logged = [row["update"] for row in history if "loss" in row]
        validated = [row["update"] for row in history if "val.psnr_y" in row]
        assert logged == [4, 8, 12]
        assert validated == [5, 10, 12]
        assert {int(row["update"]): {**row, "update": 0} for row in history} == {
            update: {**measured, "update": 0} for update, measured in journal.rows.items()
        }
        for row in history:
            curves = {"loss", "learning_rate", "crops_per_second"}
            expected = {"update"}
            expected |= curves if row["update"] in logged else set()
            expected |= VALIDATION if row["update"] in validated else set()
            assert row.keys() == expected
        assert all(row["crops_per_second"] > 0 for row in history if "loss" in row)

    def test_adversarial_losses_are_all_logged(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        last = run(adversarial(), pairs, store)[-1]

        assert last.keys() >= {
            "loss",
            "content_loss",
            "adversarial_loss",
            "discriminator_loss",
            "discriminator_on_hr",
            "discriminator_on_sr",
        }

    def test_losses_are_means_since_the_row_before(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        losses = [float(2**update) for update in range(10)]
        history = run(
            Scripted(losses), pairs, store, plan=replace(PLAN, updates=10, validate_every=100)
        )

        assert {row["update"]: row["loss"] for row in history} == {
            4: (1 + 2 + 4 + 8) / 4,
            8: (16 + 32 + 64 + 128) / 4,
            10: (256 + 512) / 2,
        }

    def test_rate_of_the_plan_reaches_all_optimizers(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        inner = adversarial()
        objective = Observed(inner)
        history = run(objective, pairs, store)

        expected = [learning_rate_at(update, 12, PLAN.learning_rate) for update in range(12)]
        assert objective.rates == expected
        assert [each.param_groups[0]["lr"] for each in inner.optimizers] == [expected[-1]] * 2
        assert [row["learning_rate"] for row in history if "loss" in row] == [
            expected[3],
            expected[7],
            expected[11],
        ]

    def test_training_improves_the_result(self, pairs: ImagePairs, store: CheckpointStore) -> None:
        objective = pretraining()
        untrained = Validator(pairs, 6, CPU)(objective.result)
        run(objective, pairs, store, plan=replace(PLAN, updates=60))
        trained = Validator(pairs, 6, CPU)(objective.result)

        assert trained["val.psnr_y"] > untrained["val.psnr_y"] + 3.0


class TestExpectation:
    def test_is_told_once_when_the_speed_is_known(
        self, pairs: ImagePairs, store: CheckpointStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            run(pretraining(), pairs, store)
        (line,) = (record.getMessage() for record in caplog.records if "expect" in record.msg)
        assert re.fullmatch(
            r"pretrain: expect \d+ crops/s and about \d\d:\d\d for the 4 updates left, "
            "validations apart",
            line,
        )


class TestBatchNorm:
    def test_final_statistics_are_those_of_further_batches(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        objective = pretraining()
        run(objective, pairs, store, plan=replace(PLAN, batch_norm_updates=5))
        generator = objective.result
        crops = CropSampler(pairs, crop_size=16, batch_size=2, seed=0, device=CPU)
        block = generator.get_submodule("body.0.body")
        means, variances = [], []
        with torch.no_grad():
            for update in range(12, 17):
                lr = from_pixels(crops.batch(update)[0])
                inputs = block.get_submodule("0")(generator.head(lr))
                means.append(inputs.mean(dim=(0, 2, 3)))
                variances.append(inputs.var(dim=(0, 2, 3)))  # unbiased, as batch-norm keeps it

        norm = block.get_submodule("1")
        torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))
        torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0))

    def test_zero_batches_keep_the_running_statistics(
        self, pairs: ImagePairs, tmp_path: Path
    ) -> None:
        kept, renewed = pretraining(), pretraining()
        run(kept, pairs, CheckpointStore(tmp_path, {}), plan=replace(PLAN, batch_norm_updates=0))
        run(renewed, pairs, CheckpointStore(tmp_path, {"other": 1}))
        before, after = kept.result.state_dict(), renewed.result.state_dict()

        norm = "body.0.body.1"
        assert before[f"{norm}.num_batches_tracked"] == 12
        assert not torch.equal(before[f"{norm}.running_mean"], after[f"{norm}.running_mean"])
        assert torch.equal(before["tail.weight"], after["tail.weight"])


class TestResumption:
    def resume(
        self,
        uninterrupted: tuple[Callable[[], Objective], Rows, Objective],
        pairs: ImagePairs,
        store: CheckpointStore,
        *,
        steps: int | None = None,
    ) -> None:
        """Finish a training, and compare it with the one in one go."""
        build, history, finished = uninterrupted
        objective = Observed(build())
        resumed = run(objective, pairs, store)

        assert_equal(without_speed(resumed), without_speed(history), "history")
        assert_equal(objective.state(), finished.state())
        assert_equal(objective.result.state_dict(), finished.result.state_dict(), "result")
        if steps is not None:
            assert objective.steps == steps

    @pytest.mark.parametrize(
        ("broken_at", "left"), [(4, 12 - 3), (5, 12 - 3), (8, 12 - 6), (10, 12 - 9), (12, 12 - 9)]
    )
    def test_after_an_interruption_while_logging(
        self,
        uninterrupted: tuple[Callable[[], Objective], Rows, Objective],
        pairs: ImagePairs,
        store: CheckpointStore,
        broken_at: int,
        left: int,
    ) -> None:
        with pytest.raises(InterruptionError):
            run(uninterrupted[0](), pairs, store, log=Journal(break_at=broken_at))

        self.resume(uninterrupted, pairs, store, steps=left)

    @pytest.mark.parametrize(("validation", "left"), [(1, 12 - 3), (2, 12 - 9), (3, 12 - 9)])
    def test_after_an_interruption_while_validating(
        self,
        uninterrupted: tuple[Callable[[], Objective], Rows, Objective],
        pairs: ImagePairs,
        store: CheckpointStore,
        validation: int,
        left: int,
    ) -> None:
        calls = 0

        def validate(generator: Generator) -> Mapping[str, float]:
            nonlocal calls
            calls += 1
            if calls == validation:
                raise InterruptionError
            return Validator(pairs, 2, CPU)(generator)

        with pytest.raises(InterruptionError):
            run(uninterrupted[0](), pairs, store, validate=validate)

        self.resume(uninterrupted, pairs, store, steps=left)

    @pytest.mark.parametrize(("done", "left"), [(0, 12), (2, 12), (3, 9), (6, 6), (7, 6), (11, 3)])
    def test_after_an_interruption_in_a_step(
        self,
        uninterrupted: tuple[Callable[[], Objective], Rows, Objective],
        pairs: ImagePairs,
        store: CheckpointStore,
        done: int,
        left: int,
    ) -> None:
        def fail(steps: int) -> None:
            if steps == done:
                raise InterruptionError

        with pytest.raises(InterruptionError):
            run(Observed(uninterrupted[0](), fail), pairs, store)

        self.resume(uninterrupted, pairs, store, steps=left)

    def test_after_several_interruptions(
        self,
        uninterrupted: tuple[Callable[[], Objective], Rows, Objective],
        pairs: ImagePairs,
        store: CheckpointStore,
    ) -> None:
        for update in (5, 8, 10, 12):
            with pytest.raises(InterruptionError):
                run(uninterrupted[0](), pairs, store, log=Journal(break_at=update))

        self.resume(uninterrupted, pairs, store)

    def test_with_a_damaged_newest_checkpoint(
        self,
        uninterrupted: tuple[Callable[[], Objective], Rows, Objective],
        pairs: ImagePairs,
        store: CheckpointStore,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with pytest.raises(InterruptionError):
            run(uninterrupted[0](), pairs, store, log=Journal(break_at=10))
        newest = store.folder / "update-000000009.pt"
        newest.write_bytes(newest.read_bytes()[:-1000])

        self.resume(uninterrupted, pairs, store, steps=12 - 6)
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1
        assert str(newest.with_suffix("")) in warnings[0].getMessage()

    def test_with_a_checkpoint_that_runs_code(
        self,
        uninterrupted: tuple[Callable[[], Objective], Rows, Objective],
        pairs: ImagePairs,
        store: CheckpointStore,
        tmp_path: Path,
    ) -> None:
        with pytest.raises(InterruptionError):
            run(uninterrupted[0](), pairs, store, log=Journal(break_at=10))
        made = tmp_path / "made"
        torch.save({"update": 9, "state": Payload(made)}, store.folder / "update-000000009.pt")

        self.resume(uninterrupted, pairs, store, steps=12 - 6)
        assert not made.exists()

    def test_of_a_finished_training_trains_no_more(
        self,
        uninterrupted: tuple[Callable[[], Objective], Rows, Objective],
        pairs: ImagePairs,
        store: CheckpointStore,
    ) -> None:
        run(uninterrupted[0](), pairs, store)
        files = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}

        self.resume(uninterrupted, pairs, store, steps=0)
        assert {path: path.stat().st_mtime_ns for path in store.folder.iterdir()} == files

    def test_keeps_the_mean_of_losses_from_before(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        plan = replace(PLAN, log_every=10, updates=10, validate_every=100)

        class Broken(Scripted):
            def step(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
                if self.steps == 7:
                    raise InterruptionError
                return super().step(lr, hr)

        with pytest.raises(InterruptionError):
            run(Broken([1.0] * 6 + [50.0]), pairs, store, plan=plan)
        history = run(Scripted([2.0] * 4), pairs, store, plan=plan)

        assert [row["loss"] for row in history] == [pytest.approx((6 * 1.0 + 4 * 2.0) / 10)]


def test_only_the_newest_checkpoints_stay(pairs: ImagePairs, store: CheckpointStore) -> None:
    run(pretraining(), pairs, store, plan=replace(PLAN, updates=11))

    assert sorted(path.name for path in store.folder.glob("update-*.pt")) == [
        "update-000000009.pt",
        "update-000000011.pt",
    ]


class TestBrokenLoss:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_stops_the_training(
        self, pairs: ImagePairs, store: CheckpointStore, value: float
    ) -> None:
        losses = [1.0] * 5 + [value] + [1.0] * 6
        journal = Journal()
        with pytest.raises(UserError, match="pretrain broke off at update 6") as caught:
            run(Scripted(losses), pairs, store, log=journal)

        message = str(caught.value)
        assert "loss" in message
        assert str(store.folder) in message
        assert "pretrain.learning_rate.initial" in message
        assert list(journal.rows) == [4, 5]

    def test_of_the_discriminator_stops_it_too(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        class Diverged(Observed):
            def step(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
                return super().step(lr, hr) | {"discriminator_loss": torch.tensor(torch.nan)}

        with pytest.raises(UserError, match=r"train_gan broke off.*discriminator_loss"):
            run(Diverged(adversarial()), pairs, store, plan=replace(PLAN, name="train_gan"))

    def test_names_no_checkpoint_where_there_is_none(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        with pytest.raises(UserError, match="There is no checkpoint yet") as caught:
            run(Scripted([float("nan")] * 12), pairs, store, plan=replace(PLAN, log_every=1))
        assert str(store.folder) not in str(caught.value)

    def test_leaves_a_good_checkpoint_as_the_last(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        """Checkpoints fall between two looks at the losses, and the weights break there."""
        objective = pretraining()

        def poison(steps: int) -> None:
            if steps == 4:
                with torch.no_grad():
                    objective.result.tail.weight.fill_(torch.nan)

        plan = replace(PLAN, log_every=12, validate_every=100, checkpoint_every=3)
        with pytest.raises(UserError, match="The last good checkpoint"):
            run(Observed(objective, poison), pairs, store, plan=plan)

        found = store.latest()
        assert found is not None
        weights: dict[str, Tensor] = found.state["objective"]["generator"]
        assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
        assert found.update == 3
