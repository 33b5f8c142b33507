import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from tiny_training import (
    CPU,
    Payload,
    adversarial,
    assert_equal,
    gan_parameters,
    pretraining,
    smooth_images,
    training_parameters,
    write_pairs,
)
from torch import Tensor

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError
from deepdepixelate.models.generator import Generator, from_pixels
from deepdepixelate.parameters import LearningRate, Schedule, TrainingParameters
from deepdepixelate.training.checkpoints import CheckpointStore
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.learning_rate import learning_rate_at
from deepdepixelate.training.monitoring import Validator
from deepdepixelate.training.steps import TrainingStep
from deepdepixelate.training.trainer import resume, train

Rows = list[dict[str, float]]

SCHEDULE = gan_parameters(
    updates=12,
    learning_rate={"initial": 1e-2, "schedule": "cosine"},
    validate_every=5,
    checkpoint_every=3,
)
TRAINING = training_parameters(log_every=4, batch_norm_updates=2)
NOTED = [4, 5, 8, 10, 12]
"""The updates at which these log, validate or end."""


class InterruptionError(Exception):
    """A power failure, a Ctrl-C, a killed job."""


class Observed(TrainingStep):
    """Counts updates, and does something of the test's before each."""

    def __init__(self, step: TrainingStep, before: Callable[[int], None] | None = None) -> None:
        self.inner = step
        self.updates = 0
        self.rates: list[float] = []
        self._before = before
        self.optimizers, self.first_updates = step.optimizers, step.first_updates
        self.result = step.result

    def update(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        if self._before is not None:
            self._before(self.updates)
        self.updates += 1
        self.rates.append(self.optimizers[0].param_groups[0]["lr"])
        return self.inner.update(lr, hr)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state)


class Scripted(Observed):
    """Reports losses of the test's choosing."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(pretraining())
        self._losses = losses

    def update(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        super().update(lr, hr)
        return {"loss": torch.tensor(self._losses[self.updates - 1])}


@dataclass
class Journal:
    """What reached ``log``; fails at an update if asked to."""

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
    step: TrainingStep,
    pairs: ImagePairs,
    store: CheckpointStore,
    *,
    name: str = "pretrain",
    settings: Schedule = SCHEDULE,
    training: TrainingParameters = TRAINING,
    log: Journal | None = None,
    validate: Callable[[Generator], Mapping[str, float]] | None = None,
) -> Rows:
    crops = CropSampler(pairs, crop_size=16, batch_size=2, seed=0, device=CPU)
    return train(
        step,
        crops,
        resume(name, settings.updates, step, store),
        name=name,
        settings=settings,
        training=training,
        validate=validate or Validator(pairs, 2, CPU),
        checkpoints=store,
        log=log or Journal(),
    )


def schedule(**changes: Any) -> Schedule:
    return SCHEDULE.model_copy(update=changes)


def logging_every(updates: int) -> TrainingParameters:
    return TRAINING.model_copy(update={"log_every": updates})


def reestimating_over(updates: int) -> TrainingParameters:
    return TRAINING.model_copy(update={"batch_norm_updates": updates})


def without_speed(rows: Rows) -> Rows:
    return [{key: row[key] for key in row if key != "crops_per_second"} for row in rows]


@pytest.fixture(scope="module", params=[pretraining, adversarial], ids=["pretrain", "gan"])
def uninterrupted(
    request: pytest.FixtureRequest, pairs: ImagePairs, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Callable[[], TrainingStep], Rows, TrainingStep]:
    """How to build an step, and what becomes of it in one go."""
    build: Callable[[], TrainingStep] = request.param
    step = build()
    store = CheckpointStore(tmp_path_factory.mktemp("uninterrupted"), {})
    return build, run(step, pairs, store), step


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
        step = adversarial(discriminator_head_start=4)
        rates: list[list[float]] = []

        def note(updates: int) -> None:
            rates.append([each.param_groups[0]["lr"] for each in step.optimizers])

        settings = schedule(learning_rate=rate)
        history = run(
            Observed(step, note), pairs, store, settings=settings, training=logging_every(1)
        )
        generator, discriminator = zip(*rates, strict=True)
        assert generator[3:9] == pytest.approx((0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3))
        assert discriminator[:5] == pytest.approx((0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3))
        assert tuple(row["learning_rate"] for row in history) == generator

    def test_constant_stays(self) -> None:
        constant = LearningRate(initial=3e-4, schedule="constant", decay_at=(0.1,))

        assert {learning_rate_at(update, 7, constant) for update in range(7)} == {3e-4}


VALIDATION = {"val.psnr_y", "val.ssim_y", "val.st_lpips", "val.high_frequency_ratio"}


class TestCurves:
    def test_rows_come_when_the_parameters_say(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
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
            Scripted(losses), pairs, store, settings=schedule(updates=10, validate_every=100)
        )

        assert {row["update"]: row["loss"] for row in history} == {
            4: (1 + 2 + 4 + 8) / 4,
            8: (16 + 32 + 64 + 128) / 4,
            10: (256 + 512) / 2,
        }

    def test_rate_of_the_schedule_reaches_all_optimizers(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        inner = adversarial()
        step = Observed(inner)
        history = run(step, pairs, store)

        expected = [learning_rate_at(update, 12, SCHEDULE.learning_rate) for update in range(12)]
        assert step.rates == expected
        assert [each.param_groups[0]["lr"] for each in inner.optimizers] == [expected[-1]] * 2
        assert [row["learning_rate"] for row in history if "loss" in row] == [
            expected[3],
            expected[7],
            expected[11],
        ]

    def test_training_improves_the_result(self, pairs: ImagePairs, store: CheckpointStore) -> None:
        step = pretraining()
        untrained = Validator(pairs, 6, CPU)(step.result)
        run(step, pairs, store, settings=schedule(updates=60))
        trained = Validator(pairs, 6, CPU)(step.result)

        assert trained["val.psnr_y"] > untrained["val.psnr_y"] + 3.0


class TestExpectedTime:
    def test_is_logged_once_when_the_speed_is_known(
        self, pairs: ImagePairs, store: CheckpointStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            run(pretraining(), pairs, store)
        (line,) = (record.getMessage() for record in caplog.records if "expect" in record.msg)
        assert re.fullmatch(
            r"pretrain: expect \d+ crops/s and about \d\d:\d\d for the 4 updates left, "
            "plus validations",
            line,
        )


class TestBatchNorm:
    def test_final_statistics_are_those_of_further_batches(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        step = pretraining()
        run(step, pairs, store, training=reestimating_over(5))
        generator = step.result
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
        run(kept, pairs, CheckpointStore(tmp_path, {}), training=reestimating_over(0))
        run(renewed, pairs, CheckpointStore(tmp_path, {"other": 1}))
        before, after = kept.result.state_dict(), renewed.result.state_dict()

        norm = "body.0.body.1"
        assert before[f"{norm}.num_batches_tracked"] == 12
        assert not torch.equal(before[f"{norm}.running_mean"], after[f"{norm}.running_mean"])
        assert torch.equal(before["tail.weight"], after["tail.weight"])


class TestResumption:
    def resume(
        self,
        uninterrupted: tuple[Callable[[], TrainingStep], Rows, TrainingStep],
        pairs: ImagePairs,
        store: CheckpointStore,
        *,
        updates: int | None = None,
    ) -> None:
        """Finish a training, and compare it with the one in one go."""
        build, history, finished = uninterrupted
        step = Observed(build())
        resumed = run(step, pairs, store)

        assert_equal(without_speed(resumed), without_speed(history), "history")
        assert_equal(step.state_dict(), finished.state_dict())
        assert_equal(step.result.state_dict(), finished.result.state_dict(), "result")
        if updates is not None:
            assert step.updates == updates

    @pytest.mark.parametrize(
        ("broken_at", "left"), [(4, 12 - 3), (5, 12 - 3), (8, 12 - 6), (10, 12 - 9), (12, 12 - 9)]
    )
    def test_after_an_interruption_while_logging(
        self,
        uninterrupted: tuple[Callable[[], TrainingStep], Rows, TrainingStep],
        pairs: ImagePairs,
        store: CheckpointStore,
        broken_at: int,
        left: int,
    ) -> None:
        with pytest.raises(InterruptionError):
            run(uninterrupted[0](), pairs, store, log=Journal(break_at=broken_at))

        self.resume(uninterrupted, pairs, store, updates=left)

    @pytest.mark.parametrize(("validation", "left"), [(1, 12 - 3), (2, 12 - 9), (3, 12 - 9)])
    def test_after_an_interruption_while_validating(
        self,
        uninterrupted: tuple[Callable[[], TrainingStep], Rows, TrainingStep],
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

        self.resume(uninterrupted, pairs, store, updates=left)

    @pytest.mark.parametrize(("done", "left"), [(0, 12), (2, 12), (3, 9), (6, 6), (7, 6), (11, 3)])
    def test_after_an_interruption_in_a_step(
        self,
        uninterrupted: tuple[Callable[[], TrainingStep], Rows, TrainingStep],
        pairs: ImagePairs,
        store: CheckpointStore,
        done: int,
        left: int,
    ) -> None:
        def fail(updates: int) -> None:
            if updates == done:
                raise InterruptionError

        with pytest.raises(InterruptionError):
            run(Observed(uninterrupted[0](), fail), pairs, store)

        self.resume(uninterrupted, pairs, store, updates=left)

    def test_after_several_interruptions(
        self,
        uninterrupted: tuple[Callable[[], TrainingStep], Rows, TrainingStep],
        pairs: ImagePairs,
        store: CheckpointStore,
    ) -> None:
        for update in (5, 8, 10, 12):
            with pytest.raises(InterruptionError):
                run(uninterrupted[0](), pairs, store, log=Journal(break_at=update))

        self.resume(uninterrupted, pairs, store)

    def test_with_a_damaged_newest_checkpoint(
        self,
        uninterrupted: tuple[Callable[[], TrainingStep], Rows, TrainingStep],
        pairs: ImagePairs,
        store: CheckpointStore,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with pytest.raises(InterruptionError):
            run(uninterrupted[0](), pairs, store, log=Journal(break_at=10))
        newest = store.folder / "update-000000009.pt"
        newest.write_bytes(newest.read_bytes()[:-1000])

        self.resume(uninterrupted, pairs, store, updates=12 - 6)
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1
        assert str(newest.with_suffix("")) in warnings[0].getMessage()

    def test_with_a_checkpoint_that_runs_code(
        self,
        uninterrupted: tuple[Callable[[], TrainingStep], Rows, TrainingStep],
        pairs: ImagePairs,
        store: CheckpointStore,
        tmp_path: Path,
    ) -> None:
        with pytest.raises(InterruptionError):
            run(uninterrupted[0](), pairs, store, log=Journal(break_at=10))
        made = tmp_path / "made"
        torch.save({"update": 9, "state": Payload(made)}, store.folder / "update-000000009.pt")

        self.resume(uninterrupted, pairs, store, updates=12 - 6)
        assert not made.exists()

    def test_of_a_finished_training_trains_no_more(
        self,
        uninterrupted: tuple[Callable[[], TrainingStep], Rows, TrainingStep],
        pairs: ImagePairs,
        store: CheckpointStore,
    ) -> None:
        run(uninterrupted[0](), pairs, store)
        files = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}

        self.resume(uninterrupted, pairs, store, updates=0)
        assert {path: path.stat().st_mtime_ns for path in store.folder.iterdir()} == files

    def test_keeps_the_mean_of_losses_from_before(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        settings, training = schedule(updates=10, validate_every=100), logging_every(10)

        class Broken(Scripted):
            def update(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
                if self.updates == 7:
                    raise InterruptionError
                return super().update(lr, hr)

        with pytest.raises(InterruptionError):
            run(Broken([1.0] * 6 + [50.0]), pairs, store, settings=settings, training=training)
        history = run(Scripted([2.0] * 4), pairs, store, settings=settings, training=training)

        assert [row["loss"] for row in history] == [pytest.approx((6 * 1.0 + 4 * 2.0) / 10)]


def test_only_the_newest_checkpoints_stay(pairs: ImagePairs, store: CheckpointStore) -> None:
    run(pretraining(), pairs, store, settings=schedule(updates=11))

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
        with pytest.raises(UserError, match="pretrain diverged at update 6") as caught:
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
            def update(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
                return super().update(lr, hr) | {"discriminator_loss": torch.tensor(torch.nan)}

        with pytest.raises(UserError, match=r"train_gan diverged.*discriminator_loss"):
            run(Diverged(adversarial()), pairs, store, name="train_gan")

    def test_names_no_checkpoint_if_there_is_none(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        with pytest.raises(UserError, match="There is no checkpoint yet") as caught:
            run(Scripted([float("nan")] * 12), pairs, store, training=logging_every(1))
        assert str(store.folder) not in str(caught.value)

    def test_leaves_a_good_checkpoint_as_the_last(
        self, pairs: ImagePairs, store: CheckpointStore
    ) -> None:
        """Checkpoints fall between two looks at the losses, and the weights break there."""
        step = pretraining()

        def poison(updates: int) -> None:
            if updates == 4:
                with torch.no_grad():
                    step.result.tail.weight.fill_(torch.nan)

        settings = schedule(validate_every=100, checkpoint_every=3)
        with pytest.raises(UserError, match="The last good checkpoint"):
            run(
                Observed(step, poison),
                pairs,
                store,
                settings=settings,
                training=logging_every(12),
            )

        found = store.latest()
        assert found is not None
        weights: dict[str, Tensor] = found.state["objective"]["generator"]
        assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
        assert found.update == 3
