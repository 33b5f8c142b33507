from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle, prelu

from deepdepixelate.models.generator import (
    Doubling,
    Generator,
    GeneratorArchitecture,
    PReLU,
    from_pixels,
    targets_from_pixels,
    to_pixels,
)


def build(*, scale: int = 4, blocks: int = 1, channels: int = 8) -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorArchitecture(blocks=blocks, channels=channels, scale=scale))


def with_learned_statistics(generator: Generator) -> Generator:
    """Give batch-norm statistics that differ from the initial zeros and ones."""
    generator.train()
    with torch.no_grad():
        for _ in range(5):
            generator(torch.rand(4, 3, 8, 8))
    return generator


def as_in_the_paper(generator: Generator, lr: Tensor) -> Tensor:
    """The generator's output layer by layer, from its weights and PyTorch's own functions."""

    def convolved(features: Tensor, layer: Any) -> Tensor:
        return conv2d(features, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)

    head: Any = generator.head
    features = prelu(convolved(lr, head[0]), head[1].weight)
    features = features + generator.body(features)
    for doubling in generator.upsampling:
        layers: Any = doubling
        features = prelu(pixel_shuffle(convolved(features, layers[0]), 2), layers[2].weight)
    return convolved(features, generator.tail)


def statistics(generator: Generator) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in generator.named_buffers()}


def test_has_the_papers_number_of_parameters() -> None:
    generator = build(blocks=16, channels=64, scale=4)

    assert sum(parameter.numel() for parameter in generator.parameters()) == 1_547_350


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(7, 5), (1, 9), (12, 8)])
def test_output_is_scale_times_larger(scale: int, height: int, width: int) -> None:
    sr = build(scale=scale).eval()(torch.rand(2, 3, height, width))

    assert sr.shape == (2, 3, scale * height, scale * width)


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(7, 5), (1, 9), (12, 8)])
def test_output_and_gradients_are_the_papers(scale: int, height: int, width: int) -> None:
    generator = with_learned_statistics(build(scale=scale)).double().eval()
    for module in generator.modules():
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -1, 1)
    lr = torch.rand(2, 3, height, width, dtype=torch.float64)
    parameters = list(generator.parameters())

    expected, made = as_in_the_paper(generator, lr), generator(lr)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-13)
    gradients = torch.autograd.grad(made.square().sum(), parameters)
    for gradient, reference in zip(
        gradients, torch.autograd.grad(expected.square().sum(), parameters), strict=True
    ):
        torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-12)

    with torch.no_grad():
        torch.testing.assert_close(generator(lr), expected, rtol=0, atol=1e-13)


def test_gradient_of_prelu_is_pytorchs_at_zero_and_in_bfloat16() -> None:
    values = torch.tensor([-2.0, -0.0, 0.0, 1.5, -3.0], dtype=torch.bfloat16)
    gradients = []
    for layer in (PReLU(), nn.PReLU()):
        features = values.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            layer(features).backward(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.bfloat16))
        assert layer.weight.grad is not None
        gradients.append((features.grad, layer.weight.grad))
    for ours, pytorchs in zip(*gradients, strict=True):
        assert torch.equal(ours, pytorchs)


@pytest.mark.parametrize("scale", [-2, 0, 1, 3, 6, 16])
def test_impossible_scale_is_rejected(scale: int) -> None:
    with pytest.raises(ValidationError, match="2, 4 or 8"):
        GeneratorArchitecture(blocks=1, channels=8, scale=scale)


@pytest.mark.parametrize("wrong", [{"blocks": 0}, {"channels": 0}, {"kernel": 3}])
def test_impossible_architecture_is_rejected(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        GeneratorArchitecture.model_validate({"blocks": 1, "channels": 8, "scale": 4} | wrong)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_every_subpixel_convolution_starts_as_nearest_neighbour(scale: int) -> None:
    doublings = [module for module in build(scale=scale).modules() if isinstance(module, Doubling)]
    assert 2 ** len(doublings) == scale
    for doubling in doublings:
        convolution, shuffle = doubling[0], doubling[1]
        enlarged = shuffle(convolution(torch.rand(2, 8, 5, 7)))
        corner = enlarged[:, :, ::2, ::2]
        for row in (0, 1):
            for column in (0, 1):
                torch.testing.assert_close(enlarged[:, :, row::2, column::2], corner)
        # The channels themselves still differ, or nothing could be learned.
        assert not torch.allclose(corner[:, 0], corner[:, 1])


def test_output_is_linear_and_not_clamped() -> None:
    generator = build().eval()
    lr = torch.rand(1, 3, 6, 6)
    before = generator(lr)
    with torch.no_grad():
        generator.tail.weight.mul_(100.0)
        assert generator.tail.bias is not None
        generator.tail.bias.mul_(100.0)
    after = generator(lr)

    assert before.abs().max() > 0.01
    torch.testing.assert_close(after, before * 100.0, rtol=1e-3, atol=1e-3)
    assert after.abs().max() > 1.0


def test_has_one_prelu_slope_per_layer_and_no_bias_before_batch_norm() -> None:
    generator = build(blocks=2, scale=8)
    slopes = [module for module in generator.modules() if isinstance(module, nn.PReLU)]

    assert len(slopes) == 1 + 2 + 3
    assert all(slope.num_parameters == 1 for slope in slopes)
    normalised = [
        layer
        for sequence in generator.modules()
        if isinstance(sequence, nn.Sequential)
        for layer, following in pairwise(sequence)
        if isinstance(following, nn.BatchNorm2d)
    ]
    assert len(normalised) == 2 * 2 + 1
    assert all(layer.bias is None for layer in normalised)


def test_evaluation_of_an_image_does_not_depend_on_its_batch() -> None:
    generator = with_learned_statistics(build())
    image, dark, bright = torch.rand(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    with torch.no_grad():
        generator.eval()
        alone = generator(image)
        among_others = generator(torch.cat([dark, image, bright]))[1:2]
        generator.train()
        trained_alone = generator(image)
        trained_among_others = generator(torch.cat([dark, image, bright]))[1:2]

    torch.testing.assert_close(among_others, alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(trained_among_others, trained_alone, rtol=1e-3, atol=1e-3)


def test_only_training_changes_the_running_statistics() -> None:
    generator = with_learned_statistics(build())
    lr = torch.rand(4, 3, 8, 8)

    generator.eval()
    before = statistics(generator)
    generator(lr)
    after_evaluation = statistics(generator)
    generator.train()
    generator(lr)
    after_training = statistics(generator)

    assert any(name.endswith("running_var") for name in before)
    for name, value in before.items():
        assert torch.equal(after_evaluation[name], value), name
        assert not torch.equal(after_training[name], value), name


def test_lr_pixels_become_zero_to_one() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    values = from_pixels(pixels)

    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double() * 255, torch.arange(256).double(), atol=1e-4, rtol=0)
    assert torch.equal(pixels, torch.arange(256, dtype=torch.uint8))


def test_hr_pixels_become_minus_one_to_one() -> None:
    values = targets_from_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8))

    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.tensor([-1.0, -0.6, 1.0]))


def test_pixels_survive_the_way_there_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)

    assert torch.equal(to_pixels(targets_from_pixels(pixels)), pixels)


def test_output_is_rounded_and_clamped_to_pixels() -> None:
    levels = torch.tensor([-300.0, -0.6, 0.4, 0.6, 10.4, 10.6, 254.4, 254.6, 255.6, 1000.0])
    sr = levels / 127.5 - 1.0
    untouched = sr.clone()
    pixels = to_pixels(sr)

    assert pixels.dtype == torch.uint8
    assert pixels.tolist() == [0, 0, 0, 1, 10, 11, 254, 255, 255, 255]
    assert torch.equal(sr, untouched)


def test_bfloat16_output_becomes_pixels_too() -> None:
    sr = torch.tensor([-1.5, -1.0, 1.0, 1.5], dtype=torch.bfloat16)

    assert to_pixels(sr).tolist() == [0, 0, 255, 255]
