import pytest
import torch
from pydantic import ValidationError
from torch import nn

from deepdepixelate.models.discriminator import (
    Discriminator,
    DiscriminatorArchitecture,
    UNetDiscriminator,
    build_discriminator,
)


def build(crop_size: int, *, channels: int = 4, dense: int = 8) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(
        DiscriminatorArchitecture(channels=channels, dense=dense, crop_size=crop_size)
    )


def test_has_the_papers_number_of_parameters() -> None:
    discriminator = build(96, channels=64, dense=1024)

    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 23_563_649


@pytest.mark.parametrize("crop_size", [16, 32, 48, 96])
def test_gives_one_logit_per_image(crop_size: int) -> None:
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


class TestUNetDiscriminator:
    @pytest.fixture
    def judge(self) -> UNetDiscriminator:
        torch.manual_seed(0)
        return UNetDiscriminator(4)

    def test_has_real_esrgans_number_of_parameters(self) -> None:
        weights = UNetDiscriminator(64).parameters()
        assert sum(weight.numel() for weight in weights) == 4_376_897

    @pytest.mark.parametrize(("height", "width"), [(16, 16), (96, 96), (8, 24)])
    def test_gives_one_logit_per_pixel(
        self, judge: UNetDiscriminator, height: int, width: int
    ) -> None:
        with torch.no_grad():
            logits = judge(torch.rand(2, 3, height, width) * 2 - 1)
        assert logits.shape == (2, 1, height, width)

    def test_judges_each_crop_by_itself(self, judge: UNetDiscriminator) -> None:
        images = torch.rand(3, 3, 16, 16) * 2 - 1
        judge(images)  # one step of the power iteration, then the norms stay
        judge.eval()
        with torch.no_grad():
            together = judge(images)
            alone = torch.cat([judge(image[None]) for image in images])
        torch.testing.assert_close(together, alone)

    def test_norms_of_the_convolutions_between_first_and_last_are_one(
        self, judge: UNetDiscriminator
    ) -> None:
        for _ in range(50):
            judge(torch.zeros(1, 3, 16, 16))
        judge.eval()
        convolutions = [each for each in judge.modules() if isinstance(each, nn.Conv2d)]
        norms = [
            float(torch.linalg.matrix_norm(each.weight.detach().flatten(1), 2))
            for each in convolutions
        ]
        assert len(norms) == 10
        for norm in norms[1:-1]:
            assert norm == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize(("kind", "made"), [("paper", Discriminator), ("unet", UNetDiscriminator)])
def test_is_built_by_its_kind(kind: str, made: type[nn.Module]) -> None:
    architecture = DiscriminatorArchitecture.model_validate(
        {"kind": kind, "channels": 4, "dense": 8, "crop_size": 16}
    )
    assert type(build_discriminator(architecture)) is made
