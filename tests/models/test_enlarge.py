import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deepdepixelate.errors import UserError
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.inference import FlipEnsemble, enlarge

CPU = torch.device("cpu")


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(GeneratorArchitecture(blocks=1, channels=8, scale=2))
    with torch.no_grad():
        for _ in range(5):
            generator(torch.rand(4, 3, 8, 8))
    return generator


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)


def test_gives_pixels_of_the_evaluated_generator(
    generator: Generator, images: NDArray[np.uint8]
) -> None:
    enlarged = enlarge(generator, images, CPU)

    assert enlarged.shape == (3, 10, 14, 3)
    assert enlarged.dtype == np.uint8
    generator.eval()
    for image, result in zip(images, enlarged, strict=True):
        lr = torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(255))
        with torch.no_grad():
            sr = generator(lr)[0].numpy().transpose(1, 2, 0)
        levels = np.clip((sr.astype(np.float64) + 1) * 127.5, 0, 255)
        assert np.abs(levels - result).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_mode_is_restored_and_nothing_is_learned(
    generator: Generator, images: NDArray[np.uint8], training: bool
) -> None:
    generator.train(training)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    enlarge(generator, images, CPU)

    assert all(module.training is training for module in generator.modules())
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_mode_is_restored_after_a_failure(generator: Generator) -> None:
    generator.train()
    gray = np.zeros((1, 5, 7, 1), np.uint8)
    with pytest.raises(RuntimeError):
        enlarge(generator, gray, CPU)

    assert generator.training


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_what_is_not_finite_is_told_and_not_made_black(
    generator: Generator, images: NDArray[np.uint8], value: float
) -> None:
    with torch.no_grad():
        generator.tail.weight.fill_(value)
    with pytest.raises(UserError, match="NaN or infinite"):
        enlarge(generator, images, CPU)


def test_takes_read_only_images(generator: Generator, images: NDArray[np.uint8]) -> None:
    expected = enlarge(generator, images, CPU)
    images.setflags(write=False)

    assert np.array_equal(enlarge(generator, images, CPU), expected)


def test_the_flip_ensemble_is_the_mean_of_both_ways(
    generator: Generator, images: NDArray[np.uint8]
) -> None:
    generator.eval()
    lr = torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2)
    with torch.no_grad():
        made = FlipEnsemble(generator)(lr)
        there, back = generator(lr), torch.flip(generator(torch.flip(lr, [3])), [3])
    torch.testing.assert_close(made, (there + back) / 2)
    assert not torch.allclose(there, back, atol=1e-3)
