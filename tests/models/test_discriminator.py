import pytest
import torch
from pydantic import ValidationError
from torch import nn

from deepdepixelate.models.discriminator import Discriminator, DiscriminatorArchitecture


def build(crop_size: int, *, channels: int = 4, dense: int = 8) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(
        DiscriminatorArchitecture(channels=channels, dense=dense, crop_size=crop_size)
    )


def test_has_the_papers_number_of_parameters() -> None:
    discriminator = build(96, channels=64, dense=1024)

    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 23_563_649


@pytest.mark.parametrize("crop_size", [16, 32, 48, 96])
def test_gives_one_logit_an_image(crop_size: int) -> None:
    discriminator = build(crop_size)
    with torch.no_grad():
        logits = discriminator(torch.rand(5, 3, crop_size, crop_size) * 2 - 1)

    assert logits.shape == (5, 1)


def test_logits_are_not_squashed() -> None:
    discriminator = build(16).eval()
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    last = discriminator.classifier[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        before = discriminator(images)
        last.weight.mul_(-1000.0)
        last.bias.mul_(-1000.0)
        after = discriminator(images)

    torch.testing.assert_close(after, before * -1000.0, rtol=1e-3, atol=1e-3)
    assert after.abs().max() > 1.0


@pytest.mark.parametrize("crop_size", [-16, 0, 8, 15, 40, 100])
def test_crop_size_that_cannot_be_halved_four_times_is_rejected(crop_size: int) -> None:
    with pytest.raises(ValidationError, match="crop_size"):
        DiscriminatorArchitecture(channels=4, dense=8, crop_size=crop_size)


def test_has_batch_norm_after_every_convolution_but_the_first() -> None:
    kinds = [type(module) for module in build(16).features]

    assert kinds[:2] == [nn.Conv2d, nn.LeakyReLU]
    assert kinds[2:] == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 7


def test_layers_are_those_of_the_paper() -> None:
    discriminator = build(96, channels=64, dense=4)
    convolutions = [layer for layer in discriminator.features if isinstance(layer, nn.Conv2d)]
    slopes = [m.negative_slope for m in discriminator.modules() if isinstance(m, nn.LeakyReLU)]

    widths = [(layer.out_channels, layer.stride[0]) for layer in convolutions]
    assert widths == [
        (64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)
    ]  # fmt: skip
    assert slopes == [0.2] * 9
