import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_model import tiny_weights

from deepdepixelate.errors import UserError
from deepdepixelate.models.enlarge import Enlarger, enlarge
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import Weights, build_generator

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
def test_output_that_is_not_finite_is_an_error_and_not_black(
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


# -- Enlarger --------------------------------------------------------------------------------------


def difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    levels: NDArray[np.int64] = np.abs(first.astype(np.int64) - second)
    return levels


@pytest.fixture
def coarse() -> NDArray[np.uint8]:
    """An image of several tiles, in blocks of 4x4 equal pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return pixels.repeat(4, axis=0).repeat(4, axis=1)[:35, :42]


def test_pixels_are_the_generators(images: NDArray[np.uint8]) -> None:
    weights = tiny_weights()
    enlarged = Enlarger(weights, device="cpu", precision="fp32")(images)
    expected = enlarge(build_generator(weights), images, CPU)
    assert enlarged.shape == (3, 20, 28, 3)
    assert difference(enlarged, expected).max() <= 1  # rounding


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tiled_is_untiled(coarse: NDArray[np.uint8], scale: int, precision: str) -> None:
    whole, tiled = (
        Enlarger(tiny_weights(scale), device="cpu", precision=precision, tile=tile)(coarse)
        for tile in (None, 16)
    )
    assert whole.shape == (35 * scale, 42 * scale, 3)
    assert difference(whole, tiled).max() <= 1
    assert np.mean(whole != tiled) < 1e-3


@pytest.mark.parametrize("tile", [None, 16])
def test_a_batch_is_its_images(coarse: NDArray[np.uint8], tile: int | None) -> None:
    enlarger = Enlarger(tiny_weights(), device="cpu", precision="fp32", tile=tile)
    batch = np.stack([coarse, coarse[::-1]])
    for image, enlarged in zip(batch, enlarger(batch), strict=True):
        assert difference(enlarged, enlarger(image)).max() <= 1


def test_the_self_ensemble_is_the_mean_of_both_ways(coarse: NDArray[np.uint8]) -> None:
    plain, ensemble = (
        Enlarger(tiny_weights(), device="cpu", precision="fp32", self_ensemble=self_ensemble)
        for self_ensemble in (False, True)
    )
    there, back = plain(coarse).astype(float), plain(coarse[:, ::-1])[:, ::-1].astype(float)
    inside = (there % 255 != 0) & (back % 255 != 0)  # the mean is taken before it is clamped
    assert np.abs(ensemble(coarse) - (there + back) / 2)[inside].max() <= 1
    assert np.abs(there - back).max() > 2


def test_on_tile_is_called_after_each_tile(coarse: NDArray[np.uint8]) -> None:
    enlarger = Enlarger(tiny_weights(), device="cpu", tile=16)
    calls: list[None] = []
    enlarger(coarse, lambda: calls.append(None))
    assert len(calls) == len(enlarger.tiles(35, 42)) == 3 * 3


def test_a_discriminators_weights_are_refused() -> None:
    generator = tiny_weights()
    wrong = Weights("discriminator", generator.architecture, generator.tensors, {})
    with pytest.raises(UserError, match="discriminator"):
        Enlarger(wrong, device="cpu")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 7), (16, 16), (33, 47)])
@pytest.mark.parametrize("size", [1, 5, 16, 100, None])
def test_every_pixel_is_in_exactly_one_tile(height: int, width: int, size: int | None) -> None:
    counts = np.zeros((height, width), int)
    for top, left, bottom, right in Enlarger(tiny_weights(), tile=size).tiles(height, width):
        assert size is None or max(bottom - top, right - left) <= size
        counts[top:bottom, left:right] += 1
    assert (counts == 1).all()
