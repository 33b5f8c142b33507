import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import Weights, load_weights, save_weights
from deepdepixelate.photographs.demo.zooming import Part, Zoomer
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.faces import Box, cut
from deepdepixelate.photographs.photograph import read_photograph


@pytest.fixture
def model(tmp_path: Path) -> str:
    torch.manual_seed(0)
    architecture = GeneratorArchitecture(blocks=1, channels=4, scale=4)
    tensors = Generator(architecture).state_dict()
    path = tmp_path / "mine.safetensors"
    save_weights(path, Weights("generator", architecture.model_dump(), tensors, {}))
    return str(path)


@pytest.fixture
def zoomer(tmp_path: Path, model: str) -> Zoomer:
    folder = tmp_path / "results"
    folder.mkdir()
    return Zoomer(folder, [model], device="cpu", tile=16, max_pixels=10_000)


def photograph(path: Path, mode: str = "RGB") -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, icc_profile=b"a profile")
    return path


def test_a_part_is_enlarged_like_a_photograph_of_it(
    zoomer: Zoomer, model: str, tmp_path: Path
) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png"))
    calls: list[tuple[int, int]] = []
    chosen = Part(opened, Box(5, 7, 20, 30))
    path = zoomer.enlarge(chosen, model, 4, lambda *done: calls.append(done))
    part = Image.fromarray(opened.photograph.pixels[7:37, 5:25])
    part.save(tmp_path / "part.png")
    alone = read_photograph(tmp_path / "part.png", max_pixels=10**6)
    expected = Enhancer(load_weights(Path(model)), device="cpu").enlarge(alone)
    with Image.open(path) as after:
        np.testing.assert_array_equal(np.asarray(after), np.asarray(expected))
        assert after.info["icc_profile"] == b"a profile"
    assert path.name == "face-mine-4x.png"
    assert calls == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert zoomer.enlarge(chosen, model, 4, lambda *done: calls.append(done)) == path
    assert len(calls) == 5  # nothing is done twice


def test_an_enlargement_without_a_generator_is_as_large(zoomer: Zoomer, tmp_path: Path) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png"))
    part = Part(opened, Box(5, 7, 20, 30))
    for kind, method in (
        ("pixels", Image.Resampling.NEAREST),
        ("bicubic", Image.Resampling.BICUBIC),
    ):
        original = Image.fromarray(opened.photograph.pixels[7:37, 5:25])
        path = zoomer.enlarge(part, kind, 4)
        assert path.name == f"face-{kind}-4x.png"
        with Image.open(path) as image:
            expected = original.resize((80, 120), method)
            np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_an_exception_ends_the_work(zoomer: Zoomer, model: str, tmp_path: Path) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png"))
    part = Part(opened, Box(0, 0, 20, 30))

    def stop(done: int, tiles: int) -> None:
        assert done < 2
        if done == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        zoomer.enlarge(part, model, 4, stop)
    assert part.files == {}


def test_a_compressed_photograph_gets_a_note(zoomer: Zoomer, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "low.jpg", quality=60)
    Image.new("RGB", (20, 20)).save(tmp_path / "high.jpg", quality=90)
    (note,) = zoomer.open(tmp_path / "low.jpg").notes
    assert note.startswith("it is compressed (JPEG quality about 60)")
    assert zoomer.open(tmp_path / "high.jpg").notes == ()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_gray_and_alpha_are_kept(zoomer: Zoomer, model: str, tmp_path: Path, mode: str) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png", mode))
    part = Part(opened, Box(0, 0, 8, 8))
    for kind in (model, "pixels", "bicubic"):
        with Image.open(zoomer.enlarge(part, kind, 4)) as image:
            assert (image.mode, image.size) == (mode, (32, 32))


def test_the_cut_takes_alpha_along(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    pixels[..., 3] |= 1
    Image.fromarray(pixels).save(tmp_path / "face.png")
    part = cut(read_photograph(tmp_path / "face.png", max_pixels=10**6), Box(10, 20, 30, 15))
    np.testing.assert_array_equal(part.pixels, pixels[20:35, 10:40, :3])
    np.testing.assert_array_equal(np.asarray(part.alpha), pixels[20:35, 10:40, 3])


def test_old_results_are_deleted(zoomer: Zoomer, model: str, tmp_path: Path) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png"))
    part = Part(opened, Box(0, 0, 8, 8))
    first, second = (zoomer.enlarge(part, kind, 4) for kind in (model, "bicubic"))
    long_ago = time.time() - 4000
    os.utime(first.parent, (long_ago, long_ago))
    third = zoomer.enlarge(part, "pixels", 4)
    assert not first.parent.exists()
    assert second.is_file()
    assert third.is_file()
    assert zoomer.enlarge(part, model, 4).is_file()
