import pytest
import torch
from torch import nn

from deepdepixelate.models.enlarge import FoldedGenerator
from deepdepixelate.models.generator import Generator, GeneratorArchitecture, to_pixels


def trained(*, scale: int = 4, blocks: int = 2, channels: int = 8) -> Generator:
    """A generator whose slopes and batch-norms are not those of the beginning."""
    torch.manual_seed(0)
    generator = Generator(GeneratorArchitecture(blocks=blocks, channels=channels, scale=scale))
    for module in generator.modules():
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.5, 0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        for _ in range(10):
            generator(torch.rand(4, 3, 8, 8))
    return generator


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(7, 5), (1, 9), (12, 8)])
def test_gives_what_the_generator_gives(scale: int, height: int, width: int) -> None:
    generator = trained(scale=scale).double()
    folded = FoldedGenerator(generator)
    lr = torch.rand(2, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        expected = generator.eval()(lr)
        made = folded(lr)
    assert made.shape == expected.shape
    torch.testing.assert_close(made.double(), expected, rtol=1e-6, atol=1e-6)


def test_in_bfloat16_pixels_are_within_a_level_or_so() -> None:
    generator = trained(blocks=4, channels=16).eval()
    lr = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = to_pixels(generator(lr)).int()
        exact = to_pixels(FoldedGenerator(generator)(lr)).int()
        rounded = to_pixels(FoldedGenerator(generator, bf16=True)(lr)).int()
    assert (exact - expected).abs().max() <= 1
    assert 0 < (rounded - expected).abs().max() <= 3  # of untrained weights, with no smoothness


def test_the_generator_is_left_as_it_is() -> None:
    generator = trained()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    folded = FoldedGenerator(generator)
    for tensor in folded.state_dict().values():
        tensor.zero_()
    assert generator.training
    assert all(parameter.requires_grad for parameter in generator.parameters())
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("blocks", [1, 3])
def test_receptive_field_radius_is_where_the_gradient_ends(scale: int, blocks: int) -> None:
    generator = trained(scale=scale, blocks=blocks, channels=4).double().eval()
    side, middle = 61, 30
    furthest = 0
    for row in range(scale * middle, scale * (middle + 1)):
        lr = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(generator(lr)[0, :, row, row].sum(), lr)
        touched = gradient[0].abs().sum(0).nonzero()
        furthest = max(furthest, int((touched - middle).abs().max()))
    expected = generator.architecture.receptive_field_radius
    assert furthest <= expected <= furthest + 1
