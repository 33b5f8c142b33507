import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tiny_model import tiny_weights

from deepdepixelate.errors import UserError
from deepdepixelate.models.inference import enlarge
from deepdepixelate.models.weights import Weights, build_generator
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.photograph import Photograph

CPU = torch.device("cpu")


def photograph(pixels: NDArray[np.uint8], *, gray: bool = False, alpha: bool = False) -> Photograph:
    height, width, _ = pixels.shape
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    return Photograph(pixels, Image.fromarray(ramp) if alpha else None, gray, None, ())


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)[:35, :42]


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tiled_is_untiled(pixels: NDArray[np.uint8], scale: int, precision: str) -> None:
    weights = tiny_weights(scale)
    whole, tiled = (
        np.asarray(Enhancer(weights, device="cpu", precision=precision, tile=tile).enlarge(image))
        for tile, image in ((1000, photograph(pixels)), (16, photograph(pixels)))
    )
    assert whole.shape == (35 * scale, 42 * scale, 3)
    assert np.abs(whole.astype(int) - tiled.astype(int)).max() <= 1
    assert np.mean(whole != tiled) < 1e-3


def test_pixels_are_the_generators(pixels: NDArray[np.uint8]) -> None:
    weights = tiny_weights()
    made = np.asarray(Enhancer(weights, device="cpu", precision="fp32").enlarge(photograph(pixels)))
    expected = enlarge(build_generator(weights), pixels[None], CPU)[0]
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1


def test_each_tile_is_told_of(pixels: NDArray[np.uint8]) -> None:
    enhancer = Enhancer(tiny_weights(), device="cpu", tile=16)
    told: list[None] = []
    enhancer.enlarge(photograph(pixels), lambda: told.append(None))
    assert len(told) == len(enhancer.tiles(35, 42)) == 3 * 3


def test_gray_stays_gray_and_alpha_is_enlarged_along(pixels: NDArray[np.uint8]) -> None:
    enhancer = Enhancer(tiny_weights(), device="cpu")
    assert enhancer.enlarge(photograph(pixels, gray=True)).mode == "L"
    assert enhancer.enlarge(photograph(pixels, gray=True, alpha=True)).mode == "LA"
    enlarged = enhancer.enlarge(photograph(pixels, alpha=True))
    assert enlarged.mode == "RGBA"
    alpha = np.asarray(enlarged.getchannel("A")).astype(float)
    expected = np.linspace(0, 255, 42 * 4)
    assert np.abs(alpha[70] - expected).max() < 6


def test_a_discriminators_weights_are_refused() -> None:
    generator = tiny_weights()
    wrong = Weights("discriminator", generator.architecture, generator.tensors, {})
    with pytest.raises(UserError, match="discriminator"):
        Enhancer(wrong, device="cpu")
