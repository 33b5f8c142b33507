import io
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar, TypeVar

import pytest
import torch
from tiny_training import (
    CPU,
    FP32,
    assert_equal,
    copied,
    gan_parameters,
    smooth_images,
    tiny_discriminator,
    tiny_generator,
    vgg22_weights,
)
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss

from deepdepixelate.models.device import Compute
from deepdepixelate.models.discriminator import UNetDiscriminator
from deepdepixelate.models.face_descriptor import FaceDescriptor
from deepdepixelate.models.generator import Generator, from_pixels, targets_from_pixels
from deepdepixelate.models.perceptual import PerceptualNetwork
from deepdepixelate.models.shift_tolerant import ShiftTolerantTrunk, load_trunk
from deepdepixelate.training.adversarial import AdversarialStep
from deepdepixelate.training.losses import artifact_loss, feature_loss, grid_loss, negative_psnr
from deepdepixelate.training.steps import PretrainStep, TrainingStep

Batch = tuple[Tensor, Tensor]
AnyStep = TypeVar("AnyStep", PretrainStep, AdversarialStep)


@pytest.fixture
def batch() -> Batch:
    hr = smooth_images(4, height=16, width=16)
    lr = hr[:, ::4, ::4].copy()
    return torch.from_numpy(lr).permute(0, 3, 1, 2), torch.from_numpy(hr).permute(0, 3, 1, 2)


def vgg(feature_scale: float = 1.0) -> PerceptualNetwork:
    return PerceptualNetwork("vgg22", vgg22_weights(), feature_scale)


def pretraining(seed: int = 0, compute: Compute = FP32) -> PretrainStep:
    return with_rates(PretrainStep(tiny_generator(seed), compute), 1e-3)


def adversarial(
    seed: int = 0,
    *,
    content: PerceptualNetwork | ShiftTolerantTrunk | None = None,
    discriminator: nn.Module | None = None,
    compute: Compute = FP32,
    **settings: Any,
) -> AdversarialStep:
    step = AdversarialStep(
        tiny_generator(seed),
        tiny_discriminator(seed) if discriminator is None else discriminator,
        content,
        gan_parameters(**{"ema_decay": 0.9} | settings),
        compute,
    )
    return with_rates(step, 1e-3, 1e-3)


def with_rates(step: AnyStep, *rates: float) -> AnyStep:
    """Set the learning rates: of the generator and, where there is one, the discriminator."""
    for optimizer, rate in zip(step.optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
    return step


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def gradients_of(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def assert_gradients(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 0.0
    for name, gradient in expected.items():
        assert torch.allclose(actual[name], gradient, rtol=1e-3, atol=1e-5 * largest), name


def parameters(network: nn.Module) -> dict[str, Tensor]:
    return copied(dict(network.named_parameters()))


def differs(network: nn.Module, before: dict[str, Tensor]) -> list[str]:
    return [name for name, value in network.named_parameters() if not value.equal(before[name])]


class TestPretraining:
    def test_loss_is_the_mean_squared_error_in_the_generators_range(self, batch: Batch) -> None:
        step = pretraining()
        sr = deepcopy(step.generator).train()(from_pixels(batch[0]))
        expected = ((sr - (batch[1] / 127.5 - 1.0)) ** 2).mean()

        torch.testing.assert_close(step.update(*batch)["loss"], expected.detach())

    def test_overfits_one_batch(self, batch: Batch) -> None:
        step = with_rates(PretrainStep(tiny_generator(channels=16), FP32), 1e-2)
        first = float(step.update(*batch)["loss"])
        for _ in range(120):
            last = float(step.update(*batch)["loss"])

        assert last < first / 25

    def test_every_parameter_learns(self, batch: Batch) -> None:
        step = pretraining()
        before = parameters(step.generator)
        step.update(*batch)

        assert differs(step.generator, before) == list(before)

    def test_result_is_the_generator(self) -> None:
        step = pretraining()

        assert step.result is step.generator

    def test_update_trains_even_after_a_validation(self, batch: Batch) -> None:
        step = pretraining()
        step.result.eval()
        statistics = copied(dict(step.generator.named_buffers()))
        step.update(*batch)

        for name, value in step.generator.named_buffers():
            assert not torch.equal(value, statistics[name]), name

    def test_minimises_the_crops_psnr_where_asked(self, batch: Batch) -> None:
        step = PretrainStep(tiny_generator(), FP32, loss="psnr")
        lr, hr = batch
        with torch.no_grad():
            sr = step.generator.train()(from_pixels(lr))
        expected = negative_psnr(sr, targets_from_pixels(hr))
        assert torch.equal(step.update(lr, hr)["loss"], expected)


class TestGeneratorsGradient:
    def test_is_of_the_content_alone_without_adversarial_weight(self, batch: Batch) -> None:
        content = vgg()
        step = adversarial(content=content, adversarial_weight=0.0)
        generator = deepcopy(step.generator)
        target = content(targets_from_pixels(batch[1]))
        loss = mse_loss(content(generator(from_pixels(batch[0]))), target)
        losses = step.update(*batch)

        assert_gradients(gradients(step.generator), gradients_of(generator, loss))
        torch.testing.assert_close(losses["content_loss"], loss.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(losses["loss"], losses["content_loss"])

    def test_is_of_the_discriminator_alone_without_content(self, batch: Batch) -> None:
        step = with_rates(adversarial(content=vgg(0.0), adversarial_weight=0.5), 1e-3, 0.0)
        generator, discriminator = deepcopy(step.generator), deepcopy(step.discriminator)
        logits = discriminator(generator(from_pixels(batch[0])))
        loss = 0.5 * binary_cross_entropy_with_logits(logits, torch.ones(4, 1))
        losses = step.update(*batch)

        assert_gradients(gradients(step.generator), gradients_of(generator, loss))
        assert losses["content_loss"] == 0.0
        torch.testing.assert_close(losses["adversarial_loss"] * 0.5, loss.detach())

    def test_is_of_the_pixels_with_mse_content(self, batch: Batch) -> None:
        step = adversarial(content=None, adversarial_weight=0.0)
        generator = deepcopy(step.generator)
        loss = mse_loss(generator(from_pixels(batch[0])), targets_from_pixels(batch[1]))
        losses = step.update(*batch)

        assert_gradients(gradients(step.generator), gradients_of(generator, loss))
        torch.testing.assert_close(losses["content_loss"], loss.detach())

    def test_comes_from_the_weighted_sum(self, batch: Batch) -> None:
        losses = adversarial(content=vgg(), adversarial_weight=0.25).update(*batch)

        assert losses["content_loss"] > 0.0
        assert losses["adversarial_loss"] > 0.0
        expected = losses["content_loss"] + 0.25 * losses["adversarial_loss"]
        torch.testing.assert_close(losses["loss"], expected)

    def test_stays_out_of_the_content_network(self, batch: Batch) -> None:
        content = vgg()
        before = copied(content.state_dict())
        step = adversarial(content=content)
        step.update(*batch)

        assert gradients(content) == {}
        assert_equal(content.state_dict(), before)


class TestDiscriminator:
    def test_keeps_no_gradient_of_the_generators_update(self, batch: Batch) -> None:
        step = adversarial(adversarial_weight=10.0)
        generator, discriminator = deepcopy(step.generator), deepcopy(step.discriminator)
        real = discriminator(targets_from_pixels(batch[1]))
        fake = discriminator(generator(from_pixels(batch[0])).detach())
        loss = binary_cross_entropy_with_logits(real, torch.ones(4, 1))
        loss = loss + binary_cross_entropy_with_logits(fake, torch.zeros(4, 1))
        losses = step.update(*batch)

        assert_gradients(gradients(step.discriminator), gradients_of(discriminator, loss))
        torch.testing.assert_close(losses["discriminator_loss"], loss.detach())
        torch.testing.assert_close(losses["discriminator_on_hr"], real.detach().sigmoid().mean())
        torch.testing.assert_close(losses["discriminator_on_sr"], fake.detach().sigmoid().mean())

    def test_is_not_changed_by_the_generators_update(self, batch: Batch) -> None:
        step = with_rates(adversarial(adversarial_weight=10.0), 1e-2, 0.0)
        generator, discriminator = (
            parameters(step.generator),
            parameters(step.discriminator),
        )
        step.update(*batch)

        assert differs(step.discriminator, discriminator) == []
        assert differs(step.generator, generator) == list(generator)

    def test_does_not_change_the_generator_in_its_step(self, batch: Batch) -> None:
        step = with_rates(adversarial(), 0.0, 1e-2)
        generator, discriminator = (
            parameters(step.generator),
            parameters(step.discriminator),
        )
        step.update(*batch)

        assert differs(step.generator, generator) == []
        assert differs(step.discriminator, discriminator) == list(discriminator)

    def test_can_still_be_trained_after_the_generators_update(self, batch: Batch) -> None:
        step = adversarial()
        step.update(*batch)

        assert all(parameter.requires_grad for parameter in step.discriminator.parameters())

    def test_learns_to_tell_sr_from_hr(self, batch: Batch) -> None:
        step = with_rates(adversarial(), 0.0, 1e-2)
        first = step.update(*batch)
        for _ in range(50):
            last = step.update(*batch)

        assert last["discriminator_loss"] < first["discriminator_loss"] / 4
        assert last["discriminator_on_hr"] > 0.8
        assert last["discriminator_on_sr"] < 0.2


def test_in_its_head_start_only_the_discriminator_learns(batch: Batch) -> None:
    step = adversarial(discriminator_head_start=2)
    before = copied(step.generator.state_dict())
    learned = {name for name, _ in step.generator.named_parameters()}
    for update in range(3):
        critic = copied(step.discriminator.state_dict())
        losses = step.update(*batch)
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert not torch.equal(
            step.discriminator.state_dict()["classifier.1.weight"],
            critic["classifier.1.weight"],
        )
        for name, tensor in step.generator.state_dict().items():
            if name in learned:
                assert torch.equal(tensor, before[name]) is (update < 2), (update, name)


def test_what_is_judged_is_shifted_and_nothing_else(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = adversarial(shift=16, content=vgg())
    seen: list[Tensor] = []
    judge = step.discriminator.forward

    def note(images: Tensor) -> Tensor:
        seen.append(images.detach())
        logits: Tensor = judge(images)
        return logits

    monkeypatch.setattr(step.discriminator, "forward", note)
    originals = targets_from_pixels(batch[1])
    offsets = set()
    for _ in range(6):
        seen.clear()
        with torch.no_grad():
            sr = step.generator(from_pixels(batch[0]))
        step.update(*batch)
        real, fake, again = seen
        torch.testing.assert_close(again, fake)
        (offset,) = (
            (down, right)
            for down in range(16)
            for right in range(16)
            if torch.equal(originals.roll((down, right), (2, 3)), real)
        )
        torch.testing.assert_close(fake, sr.roll(offset, (2, 3)))
        offsets.add(offset)
    assert len(offsets) > 3


def test_shifting_leaves_the_error_of_pixels_as_it_is(batch: Batch) -> None:
    plain, shifted = (
        adversarial(adversarial_weight=0.0),
        adversarial(adversarial_weight=0.0, shift=16),
    )
    for _ in range(3):
        expected, made = plain.update(*batch), shifted.update(*batch)
        torch.testing.assert_close(made["content_loss"], expected["content_loss"])


def test_the_loss_against_artifacts_compares_with_the_averaged_generator(batch: Batch) -> None:
    step = adversarial(artifact_weight=50.0, ema_decay=0.5)
    step.update(*batch)
    step.update(*batch)
    hr = targets_from_pixels(batch[1])
    with torch.no_grad():
        sr = deepcopy(step.generator).train()(from_pixels(batch[0]))
        average = deepcopy(step.result).eval()(from_pixels(batch[0]))
    losses = step.update(*batch)

    torch.testing.assert_close(losses["artifact_loss"], artifact_loss(sr, average, hr))
    assert losses["artifact_loss"] != artifact_loss(sr, sr, hr)


@pytest.mark.parametrize(
    ("pixel_weight", "grid_weight"), [(0.0, 0.0), (2.0, 0.0), (0.0, 5.0), (2.0, 5.0)]
)
def test_losses_of_pixels_count_where_they_have_a_weight(
    batch: Batch, pixel_weight: float, grid_weight: float
) -> None:
    step = adversarial(pixel_weight=pixel_weight, grid_weight=grid_weight, shift=16)
    with torch.no_grad():
        sr = deepcopy(step.generator).train()(from_pixels(batch[0]))
    hr = targets_from_pixels(batch[1])
    expected = adversarial(shift=16).update(*batch)["loss"]
    expected = expected + pixel_weight * l1_loss(sr, hr) + grid_weight * grid_loss(sr, hr, 4)
    losses = step.update(*batch)

    assert ("pixel_loss" in losses, "grid_loss" in losses) == (pixel_weight > 0, grid_weight > 0)
    torch.testing.assert_close(losses["loss"], expected)


class TestIdentity:
    """A network of random weights does for dlib's: the loss is any network's distance."""

    BOX = (2, 0, 14)
    SETTINGS: ClassVar[dict[str, Any]] = {"weight": 3.0, "box": BOX}

    def faces(self) -> FaceDescriptor:
        torch.manual_seed(5)
        return FaceDescriptor(self.BOX)

    def distance(
        self, generator: Generator, batch: Batch, moved: tuple[int, int] = (0, 0)
    ) -> Tensor:
        with torch.no_grad():
            sr = deepcopy(generator).train()(from_pixels(batch[0])).roll(moved, (2, 3))
            hr = targets_from_pixels(batch[1]).roll(moved, (2, 3))
            faces = self.faces()
            distances = faces(sr) - faces(hr)
            mean: Tensor = torch.linalg.vector_norm(distances, dim=1).mean()
            return mean

    def test_is_added_to_the_error_of_pixels(self, batch: Batch) -> None:
        step = PretrainStep(tiny_generator(), FP32, faces=self.faces(), identity_weight=3.0)
        distance = self.distance(step.generator, batch)
        losses = with_rates(step, 1e-3).update(*batch)
        torch.testing.assert_close(losses["identity_loss"], distance)
        plain = pretraining().update(*batch)["loss"]
        torch.testing.assert_close(losses["loss"], plain + 3 * distance)

    def test_is_added_to_the_adversarial_loss_of_images_that_are_moved_within_an_lr_pixel(
        self, batch: Batch
    ) -> None:
        unet = {"kind": "unet", "channels": 2, "dense": 1, "start_from": None}
        step, plain = (
            AdversarialStep(
                tiny_generator(),
                deepcopy(discriminator),
                None,
                gan_parameters(crop_size=None, discriminator=unet, shift=16, identity=identity),
                FP32,
                faces=faces,
            )
            for discriminator in [UNetDiscriminator(2)]
            for faces, identity in ((self.faces(), self.SETTINGS), (None, None))
        )
        moves = set()
        for _ in range(4):
            by_move = {
                move: float(self.distance(step.generator, batch, move))
                for move in ((down, right) for down in range(4) for right in range(4))
            }
            plain.generator.load_state_dict(step.generator.state_dict())
            losses, expected = step.update(*batch), plain.update(*batch)
            distance = float(losses["identity_loss"])
            (move,) = (each for each in by_move if by_move[each] == pytest.approx(distance, 1e-4))
            moves.add(move)
            assert float(losses["loss"]) == pytest.approx(float(expected["loss"]) + 3 * distance)
            assert "identity_loss" not in expected
        assert len(moves) > 1

    def test_reaches_the_generator_and_not_the_network(self, batch: Batch) -> None:
        faces = self.faces()
        before = copied(faces.state_dict())
        step = PretrainStep(tiny_generator(), FP32, faces=faces, identity_weight=3.0)
        without = pretraining()
        for each in (with_rates(step, 1e-3), without):
            each.update(*batch)
        assert_equal(faces.state_dict(), before)
        assert gradients(faces) == {}
        assert not torch.equal(step.generator.tail.weight, without.generator.tail.weight)


def test_content_of_several_feature_maps_is_their_relative_difference(batch: Batch) -> None:
    content = load_trunk("vgg")
    step = adversarial(content=content, adversarial_weight=0.0, discriminator=UNetDiscriminator(2))
    generator = deepcopy(step.generator)
    larger = [side.repeat_interleave(2, 2).repeat_interleave(2, 3) for side in batch]
    loss = feature_loss(
        content(generator(from_pixels(larger[0]))), content(targets_from_pixels(larger[1]))
    )
    losses = step.update(larger[0], larger[1])

    assert loss > 0
    torch.testing.assert_close(losses["content_loss"], loss.detach())
    assert_gradients(gradients(step.generator), gradients_of(generator, loss))


def test_trains_against_a_discriminator_that_judges_each_pixel(batch: Batch) -> None:
    torch.manual_seed(0)
    judge = UNetDiscriminator(4)
    step = with_rates(adversarial(discriminator=judge, adversarial_weight=0.1), 0.0, 1e-2)
    first = step.update(*batch)
    for _ in range(50):
        last = step.update(*batch)

    assert last["discriminator_loss"] < first["discriminator_loss"] / 2


def test_adversarial_update_trains_networks_that_come_in_evaluation(batch: Batch) -> None:
    step = adversarial()
    networks = (step.generator.eval(), step.discriminator.eval())
    before = [copied(dict(network.named_buffers())) for network in networks]
    step.update(*batch)

    for network, statistics in zip(networks, before, strict=True):
        for name, value in network.named_buffers():
            assert not torch.equal(value, statistics[name]), name


class TestMovingAverage:
    NAMES = ("tail.weight", "body.0.body.1.running_mean", "body.0.body.1.running_var")

    def test_is_the_result_and_not_the_generator(self, batch: Batch) -> None:
        step = adversarial(ema_decay=0.9)
        for _ in range(2):
            step.update(*batch)

        assert step.result is not step.generator
        result, generator = step.result.state_dict(), step.generator.state_dict()
        for name in self.NAMES:
            assert not torch.equal(result[name], generator[name]), name

    def test_follows_the_formula(self, batch: Batch) -> None:
        step = adversarial(ema_decay=0.9)
        step.update(*batch)
        expected = copied(step.result.state_dict())
        for _ in range(3):
            step.update(*batch)
            latest = step.generator.state_dict()
            for name in self.NAMES:
                expected[name] = 0.9 * expected[name] + 0.1 * latest[name]
                torch.testing.assert_close(step.result.state_dict()[name], expected[name])

    def test_without_decay_is_the_generator(self, batch: Batch) -> None:
        step = adversarial(ema_decay=0.0)
        for _ in range(3):
            step.update(*batch)
            assert_equal(step.result.state_dict(), step.generator.state_dict())


@pytest.mark.parametrize(
    "build",
    [
        pretraining,
        adversarial,
        lambda seed: adversarial(seed, content=vgg(), shift=16, discriminator_head_start=4),
        lambda seed: adversarial(seed, discriminator=UNetDiscriminator(4), pixel_weight=1.0),
    ],
    ids=["pretrain", "mse", "vgg22", "unet"],
)
def test_state_continues_bit_for_bit(build: Callable[[int], TrainingStep], batch: Batch) -> None:
    step, other = build(0), build(1)
    for _ in range(3):
        step.update(*batch)
    stored = io.BytesIO()
    torch.save(step.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True))
    for _ in range(3):
        expected, actual = step.update(*batch), other.update(*batch)
        assert_equal(actual, expected)

    assert_equal(other.state_dict(), step.state_dict())
    assert_equal(other.result.state_dict(), step.result.state_dict())


@pytest.mark.parametrize(
    "build",
    [
        lambda compute: pretraining(compute=compute),
        lambda compute: adversarial(content=vgg(), compute=compute),
    ],
    ids=["pretrain", "vgg22"],
)
def test_bfloat16_gives_finite_float32_losses(
    build: Callable[[Compute], Any], batch: Batch
) -> None:
    step, exact = build(Compute(CPU, bf16=True)), build(FP32)
    rough_losses, exact_losses = step.update(*batch), exact.update(*batch)

    for name, loss in rough_losses.items():
        assert loss.dtype == torch.float32, name
        assert loss.isfinite(), name
        assert not loss.requires_grad, name
        assert loss == pytest.approx(float(exact_losses[name]), rel=0.1, abs=0.02), name
    assert rough_losses["loss"] != exact_losses["loss"]  # it was indeed computed more coarsely
    for parameter in step.generator.parameters():
        assert parameter.dtype == torch.float32
